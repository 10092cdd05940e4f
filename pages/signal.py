"""Signal: how it dies and comes back, layer by layer, in real feature maps and in the penultimate features."""

from __future__ import annotations

import streamlit as st

from pages.ui import shell, take_away
from pages.ui.binding import bound
from pages.ui.controls import controls
from pages.ui.panels import choose_layer, table
from pages.ui.portraits import portraits
from pages.ui.stage import diagnosed, stage

shell.frame(__file__)
spec = controls()
diagnosis = diagnosed(spec)
shown = portraits(diagnosis)
layer = stage(diagnosis, shown.view(), shown.around)
left, right = st.columns([1, 3], vertical_alignment="bottom")
with left:
    st.number_input(
        "Image", 1, shown.pictured, help="The image whose feature maps are shown.", key="image", bind=bound("image")
    )
with right:
    choose_layer(diagnosis, layer)
table("Show data: map of features", shown.here.tables["Map of features"], "features-data")
take_away.of_diagnosis(diagnosis)
