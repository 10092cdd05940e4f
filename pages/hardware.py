"""Hardware: does it run faster? Measured here, now, in every form this machine knows."""

from __future__ import annotations

import streamlit as st

from pages.ui.controls import controls
from pages.ui.findings import show_inspection, take_away
from pages.ui.panels import chart
from pages.ui.stage import require_local
from pages.ui.tables import show_table
from reflow_core.present.figures import hardware as pictures
from reflow_core.present.snippets import inspecting
from reflow_core.spec import CALIBRATION

spec = controls(without=("repair", "statistics", "calibration_batch", "corruption", "evaluation_tail", *CALIBRATION))
require_local(spec)
finding = show_inspection("hardware", spec)
left, right = st.columns(2, gap="medium")
with left:
    chart(pictures.speeds(finding.tables["End to end"], finding.answer), "speeds", "End to end")
with right:
    chart(pictures.crossing(finding.tables["Kernel"]), "crossing", "A single kernel")
chart(pictures.in_service(finding), "requests", "Request latency")
chart(pictures.bytes_of(finding.tables["Size"]), "bytes", "File size")
st.subheader("2:4 on sparse tensor cores", anchor=False)
table = finding.tables["2:4"]
st.caption(f"{int(table.eligible.sum())} of {len(table)} layers could run as 2:4 here.")
show_table(table, height=240)
take_away(finding, "hardware", python=inspecting("hardware", spec))
