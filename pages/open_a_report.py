"""Open a report: look at it as at any other result."""

from __future__ import annotations

import streamlit as st

from pages.ui import panels
from pages.ui.actions import name_view
from pages.ui.controls import link_problems
from pages.ui.findings import show_answer
from pages.ui.lab import lab
from pages.ui.scope import View, scope
from pages.ui.session import Opened, session
from pages.ui.stage import chosen_layer, errors_shown
from pages.ui.study import open_on_overview
from pages.ui.text import sentence
from pages.ui.uploader import uploader
from reflow_core.diagnosis.links import admitted
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.present.figures.findings import pictured
from reflow_core.present.reopen import LARGEST, strange_report
from reflow_core.present.report import seen_in, tables_of
from reflow_core.production.finding import Finding
from reflow_core.spec import DEFAULTS

EMPTY = (
    "Every page ends with **Export and share**, which creates a **Report**: an HTML file with the verdict, "
    "figures, tables and the result itself. Choose such a file to view it again: nothing is recomputed, and the "
    "network is not needed."
)


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """The Overview of the diagnosis in the report, without a sweep around it."""
    layer = chosen_layer(diagnosis)
    scope(diagnosis, [], layer, View(still=True))
    panels.repair_caption(diagnosis)
    panels.layers(diagnosis, layer)
    panels.tables(tables_of(diagnosis), "reopened")


def show_finding(finding: Finding) -> None:
    """The answer, its figures, its tables."""
    show_answer(finding)
    for heading, drawn in pictured(finding).items():
        panels.chart(drawn, f"reopened-{heading.lower().replace(' ', '-')}", heading)
    panels.tables(finding.tables, "reopened")


for problem in link_problems({}):
    st.warning(sentence(problem), icon=":material/link_off:")
file = uploader(
    "Report (HTML)",
    ["html"],
    help="Only the numbers in the file are read.",
    key="reopen",
    max_upload_size=LARGEST >> 20,
)
if file is None:
    name_view(["No report is open."])
    st.info(EMPTY, icon=":material/article:")
    st.stop()
with errors_shown():
    result = lab().read_once(file, strange_report)
name_view(seen_in(result))
session().named = result.spec
if isinstance(result, Diagnosis):
    show_diagnosis(result)
else:
    show_finding(result)
if st.button("Set the controls to this report", icon=":material/open_in_new:"):
    spec, problems = admitted(result.spec.to_dict(), lab().public.library.access.code)
    session().opened = Opened(problems)  # said where the controls are
    open_on_overview(spec, own=DEFAULTS)
