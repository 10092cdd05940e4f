"""Quantization: int8 after pruning, what each step costs alone and together, and what the repair brings back."""

from __future__ import annotations

import streamlit as st

from pages.ui import shell
from pages.ui.controls import controls
from pages.ui.findings import show_inspection, take_away
from pages.ui.lab import lab, whole
from pages.ui.panels import chart, table
from pages.ui.stage import need
from pages.ui.study import follow, watch
from reflow_core.diagnosis.fields import normalize, unused_fields
from reflow_core.diagnosis.point import Point
from reflow_core.lab.request import Request
from reflow_core.lab.study import LIMITS, largest
from reflow_core.lab.sweep import Sweep
from reflow_core.present.figures import quantization as pictures
from reflow_core.present.figures.structured import latency
from reflow_core.present.snippets import inspecting
from reflow_core.production.finding import Finding
from reflow_core.spec import ABOUT, QUANTIZE_ORDERS

shell.frame(__file__)
base = controls(own={"quantize_order": QUANTIZE_ORDERS})
need(base)
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
found = show_inspection("quantize", spec)
chart(pictures.losses(found), "losses", "What each step costs", heading=False)
chart(pictures.errors(found.tables["Errors"]), "sqnr", "Where the error is")
chart(latency(found.tables["Latency"]), "int8-speed", "How fast it is")
take_away(found, "quantize", python=inspecting("quantize", spec))
st.subheader("At the edge, and beyond", anchor=False)
if "sparsity" in unused_fields(base):
    st.caption(f"The pattern {base.pattern} has but one sparsity.")
    st.stop()


def draw_edge(study: Sweep[Point]) -> None:
    """Where pruning alone begins to cost more than it may."""
    limit = largest(study.points.values())
    told = "none yet" if limit is None else f"{100 * limit:.0f} %"
    st.caption(f"The largest sparsity at which pruning alone loses at most 5 points: {told}.")


edge = follow([normalize(base, repair="none", sparsity=at) for at in LIMITS], draw_edge, "edge")
limit = largest(edge.points.values())
if edge.running or limit is None:
    st.stop()


def draw(sweep: Sweep[Finding]) -> None:
    """int8 at that sparsity and at those above it."""
    drawn = pictures.along(list(sweep.points.values()), limit or 0)
    chart(drawn, "along", "From that sparsity on", heading=False)
    table("Show data: sparsities", drawn.table, "along-data")


beyond = [spec.replace(sparsity=at) for at in LIMITS if at >= limit][:4]
at_each = [Request(at, inspection="quantize") for at in beyond]
watch(lab().sweep(at_each, whole), "inspections", draw, "along")
