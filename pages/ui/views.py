"""The views of the first page: what is drawn below the slider, and what belongs to it alone."""

from __future__ import annotations

import streamlit as st

from pages.ui.binding import bound
from pages.ui.contents import SHOW
from pages.ui.panels import table
from pages.ui.portraits import Portraits, portraits
from pages.ui.scope import VIEWS
from pages.ui.stage import stage
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.present.report import tables_of


def staged(diagnosis: Diagnosis, asked: float | None = None) -> str | None:
    """Draw the scope in the view that is chosen above it, and the view's data; returns the layer that is shown.

    `asked`: the sparsity that is still being computed, where the diagnosis is that of the nearest known. The first view
    shows it so; the others have nothing to show of it.
    """
    with st.container(key="views", horizontal=True, horizontal_alignment="right"):
        chosen = _choose()
    if asked is not None:
        return stage(diagnosis, asked=asked) if chosen == VIEWS[0] else None
    drawn = portraits(diagnosis) if chosen != VIEWS[0] else None
    layer = stage(diagnosis) if drawn is None else stage(diagnosis, drawn.view([chosen]), drawn.around)
    with st.container(horizontal=True, vertical_alignment="center"):
        _data(chosen, diagnosis, drawn)
        if drawn is not None and chosen == "stream":
            _choose_image(drawn)
    return layer


def _choose() -> str:
    return st.segmented_control(
        "View",
        VIEWS,
        default=VIEWS[0],
        required=True,
        key=SHOW,
        bind="query-params",
        label_visibility="collapsed",
    )


def _choose_image(drawn: Portraits) -> None:
    """Whose feature maps are shown: the native twin of a click on an image."""
    st.number_input(
        "Image",
        1,
        drawn.pictured,
        key="image",
        bind=bound("image"),
        label_visibility="collapsed",
        icon=":material/image:",
        width=150,
    )


def _data(chosen: str, diagnosis: Diagnosis, drawn: Portraits | None) -> None:
    """One table in one place for every view, so that nothing below moves."""
    if chosen == "features" and drawn is not None:
        table("Show data: map of features", drawn.here.tables["Map of features"], "features-data")
    elif chosen == "stream":
        table("Show data: variance by layer", tables_of(diagnosis)["Layers"], "stream-data")
    else:
        table("Show data: predictions by class", tables_of(diagnosis)["Predictions by class"], "answers-data")
