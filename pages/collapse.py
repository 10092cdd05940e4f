"""Collapse: move the sparsity, watch the signal die, watch REFLOW bring it back."""

from __future__ import annotations

import streamlit as st

from pages.ui import demo, panels, shell, take_away
from pages.ui.controls import controls
from pages.ui.stage import diagnosed, sentence, stage
from reflow_core.diagnosis.verdict import THRESHOLDS

shell.frame(__file__)
spec = controls()
if demo.on():
    demo.show(spec)
    st.stop()
found = diagnosed(spec)
layer = stage(found)
panels.repaired(found)
panels.layers(found, layer)
with sentence():
    panels.strip(found)
take_away.diagnosis(found)
st.caption(f"**How the verdict is made.** {THRESHOLDS}")
for name, reason in found.unmeasured:
    st.caption(f"Not measured: {name}, {reason}.")
st.page_link("pages/collapse.py", label="Demo mode: full width, keys 1 to 4", query_params={"demo": "1"})
