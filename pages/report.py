"""Report: open a report again and look at it as at any other result."""

from __future__ import annotations

import streamlit as st

from pages.ui import panels, shell
from pages.ui.controls import link_problems
from pages.ui.findings import answer
from pages.ui.scope import View, scope
from pages.ui.stage import chosen_layer, sentence
from pages.ui.study import open_on_collapse
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.present.figures.findings import pictured
from reflow_core.present.report import LARGEST, reopened, tables_of
from reflow_core.production.finding import Finding

EMPTY = (
    "Every page ends with **Take it away**, and there with a **Report**: one HTML file with the verdict, the figures, "
    "the tables and the result itself. Choose such a file, and it becomes a view again: nothing is computed, and the "
    "network it came from need not be here."
)


def diagnosis(found: Diagnosis) -> None:
    """As on the Collapse page, but of what was written."""
    layer = chosen_layer(found)
    scope(found, [], layer, View(still=True))
    panels.repaired(found)
    panels.layers(found, layer)
    panels.tables(tables_of(found), "reopened")


def finding(found: Finding) -> None:
    """The answer, its figures, its tables."""
    answer(found)
    for heading, drawn in pictured(found).items():
        panels.chart(drawn, f"reopened-{heading.lower().replace(' ', '-')}", heading)
    panels.tables(found.tables, "reopened")


shell.frame(__file__)
st.header("Open a report again", anchor=False)
for problem in link_problems({}):
    st.warning(problem, icon=":material/link_off:")
file = st.file_uploader("Report (HTML)", ["html"], help="Only its numbers are read.", key="reopen")
if file is None:
    st.info(EMPTY, icon=":material/article:")
    st.stop()
with sentence():
    found = reopened(file.read(LARGEST).decode(errors="replace"), file.name)
if isinstance(found, Diagnosis):
    diagnosis(found)
else:
    finding(found)
if st.button("Set the controls to this spec", icon=":material/open_in_new:"):
    open_on_collapse(found.spec)
