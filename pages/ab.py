"""A/B: a pinned view beside the present one, on shared axes, with the differences in spec and numbers."""

from __future__ import annotations

import streamlit as st

from pages.ui import take_away
from pages.ui.controls import controls, set_controls
from pages.ui.findings import show_answer
from pages.ui.panels import chart, tables
from pages.ui.pins import pin, pinned, unpin
from pages.ui.stage import diagnosed
from pages.ui.tables import show_table
from pages.ui.text import sentence
from reflow_core.present.figures.collapse import accuracies, answered, ratios
from reflow_core.present.snippets import comparing
from reflow_core.production.comparison import compared, written
from reflow_core.spec import Spec

EMPTY = (
    "Nothing is pinned yet. **Pin** the current view, here or on any page, as A. Then change anything in the "
    "sidebar (sparsity, criterion, repair, network): the new view is B, and both are shown side by side."
)


def swap(a: Spec, b: Spec) -> None:
    """A becomes the present view, the present view becomes A."""
    pin(b)
    set_controls(a)


a_spec, problems = pinned()
b_spec = controls()
for problem in problems:
    st.warning(sentence(problem), icon=":material/link_off:")
if a_spec is None:
    st.info(EMPTY, icon=":material/compare:")
    st.button("Pin the current view as A", type="primary", on_click=pin, args=(b_spec,), icon=":material/push_pin:")
    st.stop()
a, b = diagnosed(a_spec, "A"), diagnosed(b_spec, "B")
finding = compared(a, b)
show_answer(finding)
row = st.container(horizontal=True)
row.button("Swap A and B", on_click=swap, args=(a_spec, b_spec), icon=":material/swap_horiz:")
row.button("Pin B as A", on_click=pin, args=(b_spec,), icon=":material/push_pin:")
row.button("Unpin", on_click=unpin, icon=":material/close:")
left, right = st.columns([2, 3])
with left:
    st.subheader("What differs", anchor=False)
    show_table(finding.tables["What differs"])
with right:
    st.subheader("Numbers", anchor=False)
    show_table(written(finding.tables["Numbers"]))
views = {"A": a, "B": b}
chart(accuracies(views), "compare-accuracy", "Accuracy")
chart(ratios(views), "compare-ratios", "Layer-wise variance ratio")
chart(answered(views), "compare-answers", "Predictions by class")
tables(finding.tables, "compare")
take_away.of_finding(finding, "compare", {"Python": comparing([a_spec, b_spec])})
