"""Overview: move the sparsity, watch the signal die, watch REFLOW bring it back."""

from __future__ import annotations

import streamlit as st

from pages.ui import demo, panels, shell, take_away
from pages.ui.contents import SHOW
from pages.ui.controls import controls
from pages.ui.scope import VIEWS
from pages.ui.stage import diagnosed, errors_shown
from pages.ui.study import follow
from pages.ui.text import literal, sentence
from pages.ui.views import staged
from reflow_core.diagnosis.point import Point
from reflow_core.diagnosis.verdict import THRESHOLDS
from reflow_core.lab.sweep import Sweep
from reflow_core.production.draws import DRAWS, draws, spread


def _spread(study: Sweep[Point]) -> None:
    """What the seeds say together, and each of them."""
    finding = spread(spec, study.by_spec)
    st.markdown(literal(finding.answer))
    panels.tables(finding.tables, "seeds")


spec = controls(own={SHOW: VIEWS})
if shell.in_demo():
    demo.show(spec)
    st.stop()
diagnosis = diagnosed(spec, meanwhile=lambda near: staged(near, spec.sparsity))
layer = staged(diagnosis)
panels.repair_caption(diagnosis)
if st.toggle(
    f"Repeat over {DRAWS} seeds",
    help=(
        "The interval over test images does not include the choice of calibration images; this repeats it with other "
        "draws."
    ),
    key="seeds",
    bind="query-params",
):
    follow(draws(spec), _spread, "seeds")
panels.layers(diagnosis, layer)
with errors_shown():
    panels.strip(diagnosis)
take_away.of_diagnosis(diagnosis)
st.caption(f"**How the verdict is defined.** {THRESHOLDS}")
for name, reason in diagnosis.unmeasured:
    st.caption(f"Not measured: {literal(name)}, {sentence(reason)}.")
