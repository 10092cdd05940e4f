"""Quantization: int8 after pruning, what each step costs alone and together, and what the repair brings back."""

from __future__ import annotations

import streamlit as st

from pages.ui.controls import controls
from pages.ui.findings import answer_place, show_inspection, take_away
from pages.ui.lab import lab, unchanged
from pages.ui.panels import chart, table
from pages.ui.stage import require_local
from pages.ui.study import follow, watch
from reflow_core.diagnosis.fields import normalize, unused_fields
from reflow_core.diagnosis.point import Point
from reflow_core.lab.request import Request
from reflow_core.lab.study import LIMITS, largest
from reflow_core.lab.sweep import Sweep
from reflow_core.numbers import whole_percent
from reflow_core.present.figures import quantization as pictures
from reflow_core.present.figures.structured import latency
from reflow_core.present.snippets import inspecting
from reflow_core.production.finding import Finding
from reflow_core.spec import ABOUT, QUANTIZE_ORDERS

base = controls(own={"quantize_order": QUANTIZE_ORDERS})
require_local(base)
answer = answer_place()
about = ABOUT["quantize_order"]
order = st.segmented_control(
    about.label,
    about.choices,
    default=about.choices[0],
    required=True,
    help=about.help,
    key="quantize_order",
    bind="query-params",
)
spec = base.replace(quantize_order=order)
finding = show_inspection("quantize", spec, answer)
chart(pictures.losses(finding), "losses", "Loss by step", heading=False)
chart(pictures.errors(finding.tables["Errors"]), "sqnr", "Quantization error by layer")
chart(latency(finding.tables["Latency"]), "int8-speed", "Speed")
take_away(finding, "quantize", python=inspecting("quantize", spec))
st.subheader("Sparsity limits: pruning with int8", anchor=False)
if "sparsity" in unused_fields(base):
    st.caption(f"The pattern {base.pattern} has a single sparsity.")
    st.stop()


def draw_edge(study: Sweep[Point]) -> None:
    """The largest sparsity at which pruning alone loses at most 5 points, as far as it is known."""
    limit = largest(study.points.values())
    largest_so_far = "none yet" if limit is None else f"{whole_percent(limit)}"
    st.caption(f"The largest sparsity at which pruning alone loses at most 5 points: {largest_so_far}.")


edge = follow([normalize(base, repair="none", sparsity=at) for at in LIMITS], draw_edge, "edge")
limit = largest(edge.points.values())
if edge.running or limit is None:
    st.stop()


def draw(sweep: Sweep[Finding]) -> None:
    """The losses of int8 at that sparsity and above."""
    drawn = pictures.along(list(sweep.points.values()), limit or 0)
    chart(drawn, "along", "Loss above that sparsity", heading=False)
    table("Show data: sparsities", drawn.table, "along-data")


beyond = [spec.replace(sparsity=at) for at in LIMITS if at >= limit][:4]
requests = [Request(at, inspection="quantize") for at in beyond]
watch(lab().sweep(requests, unchanged), "inspections", draw, "along")
