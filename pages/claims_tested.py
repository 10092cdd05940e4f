"""Claims tested: what is said about pruning in production, tested on this model and this machine."""

from __future__ import annotations

import streamlit as st

from pages.ui.controls import controls
from pages.ui.findings import show_answer, take_away
from pages.ui.lab import lab, unchanged
from pages.ui.panels import chart
from pages.ui.stage import errors_shown, require_local
from pages.ui.study import watch
from pages.ui.text import literal
from reflow_core.lab.request import requests_for_claims
from reflow_core.lab.sweep import Sweep
from reflow_core.present.figures.claims import tally
from reflow_core.present.figures.learning import learning
from reflow_core.present.snippets import claiming
from reflow_core.production.claims import claims, counted
from reflow_core.production.finding import Finding
from reflow_core.spec import CALIBRATION

OWN = ("criterion", "update", "pattern", "exclude", "stages", "sparsity", "allocation", "layer_sparsity", "repair")
MARKS = {
    "holds": ":green[:material/check_circle:]",
    "does not hold": ":orange[:material/cancel:]",
    "undecided": ":blue[:material/balance:]",
    "not measurable here": ":gray[:material/help:]",
}

spec = controls(without=(*OWN, "statistics", "calibration_batch", "corruption", "evaluation_tail", *CALIBRATION))
require_local(spec)
with errors_shown():
    tests = lab().sweep(requests_for_claims(spec), unchanged)


def draw(sweep: Sweep[Finding]) -> None:
    """How many hold, each claim beside what was measured, and how the fine-tune went."""
    finding = counted(spec, list(sweep.points.values()))
    show_answer(finding)
    chart(tally(finding), "tally", "Claims", heading=False, captioned=False)
    for row in finding.tables["Claims"].itertuples():
        with st.container(border=True):
            st.markdown(f"{MARKS[row.verdict]} **{row.claim}**: {row.verdict}.")
            st.markdown(literal(row.measured))
            st.caption(f"Source: {row.source}.")
    if "Learning curve" in finding.tables:
        chart(learning(finding.tables["Learning curve"]), "learning", "Fine-tuning after cutting early channels")
    take_away(finding, "claims", python=claiming(spec, claims.names()))


watch(tests, "claims", draw, "claims")
