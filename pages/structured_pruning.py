"""Structured pruning: cut whole channels out, verify that the network is right, and see what it costs and gains."""

from __future__ import annotations

import streamlit as st

from pages.ui.controls import controls
from pages.ui.findings import answer_place, show_checks, show_inspection, take_away
from pages.ui.lab import lab, unchanged
from pages.ui.panels import chart, table
from pages.ui.stage import require_local
from pages.ui.study import follow
from pages.ui.tables import show_table
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import Point
from reflow_core.lab.request import Request
from reflow_core.lab.sweep import Sweep
from reflow_core.present.figures import structured as pictures
from reflow_core.present.snippets import inspecting
from reflow_core.pruning.patterns import UNSTRUCTURED

ONE_SHOT = ("update", "exclude", "stages")
OWN = ("pattern", "sparsity", "allocation", "layer_sparsity", "corruption", "evaluation_tail", *ONE_SHOT)
FRACTIONS = (0.2, 0.35, 0.5, 0.65, 0.8)
SPREADS = ("global", "uniform")

base = controls(without=OWN, own={"spread": SPREADS})
require_local(base)
answer = answer_place()
left, right = st.columns([3, 2])
with left:
    percent = st.slider(
        "Channels to cut (%)",
        5,
        90,
        50,
        5,
        help="Share of every group of coupled channels; parameters fall faster, because weights lose inputs and "
        "outputs.",
        key="channels",
        bind="query-params",
    )
with right:
    spread = st.segmented_control(
        "Spread",
        SPREADS,
        default="global",
        required=True,
        help="global compares channels across groups, relative to their group's mean; uniform cuts the same share of "
        "each group.",
        key="spread",
        bind="query-params",
    )
spec = normalize(base, allocation=spread, sparsity=percent / 100)

finding = show_inspection("structured", spec, answer)
show_checks(finding.tables["Checks"])
chart(pictures.widths(finding.tables["Widths"]), "widths", "Remaining channels", heading=False)
st.subheader("Coupled channels", anchor=False)
st.caption("A channel can only be removed from all layers of its group together.")
show_table(finding.tables["Groups"], height=240)
chart(pictures.latency(finding.tables["Latency"]), "latency", "Speed")
take_away(finding, "structured", python=inspecting("structured", spec))
st.subheader("Accuracy vs. size and time", anchor=False)
requests = [Request(normalize(spec, sparsity=fraction), inspection="structured") for fraction in FRACTIONS]
cuts = lab().sweep(requests, unchanged)
loose = [normalize(base, pattern=UNSTRUCTURED, sparsity=round(1 - (1 - fraction) ** 2, 3)) for fraction in FRACTIONS]


def draw_trade(study: Sweep[Point]) -> None:
    """Unstructured, N:M and structured on one plot."""
    cuts.look()
    st.caption(f"{cuts.done} of {cuts.total} cut networks are measured.")
    drawn = pictures.traded(list(study.points.values()), list(cuts.points.values()))
    chart(drawn, "traded", "Accuracy vs. size and time", heading=False)
    table("Show data: trade", drawn.table, "traded-data")


follow([*loose, normalize(base, pattern="2:4")], draw_trade, "trade", also=cuts)
