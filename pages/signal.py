"""Signal: see it die and come back, layer by layer, in real feature maps and in the features before the answer."""

from __future__ import annotations

import streamlit as st

from pages.ui import shell, take_away
from pages.ui.controls import controls
from pages.ui.panels import choose_layer, table
from pages.ui.portraits import portraits
from pages.ui.stage import diagnosed, stage

shell.frame(__file__)
spec = controls()
found = diagnosed(spec)
seen = portraits(spec)
layer = stage(found, seen.view(), seen.around)
left, right = st.columns([1, 3], vertical_alignment="bottom")
with left:
    st.number_input("Image", 1, seen.pictured, help="Whose feature maps are shown.", key="image", bind="query-params")
with right:
    choose_layer(found, layer)
table("Show data: map of features", seen.here.tables["Map of features"], "features-data")
take_away.diagnosis(found)
