"""How far the work in the background is, and a button to pause it or to go on."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.ui.lab import lab
from reflow_core.lab.sweep import Sweep

PREVIEWS = "Passes of this network take long, so each point is first computed in bfloat16: soon, but less exact. \
Previews are drawn hollow and called so in the table. None is stored as exact."


def progress_row(sweep: Sweep[Any], what: str, complete: str, key: str = "sweep-toggle") -> None:
    """One row of fixed height: a bar over `what` while it runs, else that it is paused, or the sentence `complete`.

    Where points are previews it says how many, and a button has the exact ones computed.
    """
    with st.container(height=64, border=False, horizontal=True, vertical_alignment="center", key=f"progress-{key}"):
        if sweep.running:
            by = f", computed by {lab().computed_by}" if lab().computed_by else ""
            previews = f", {sweep.previews} of them previews in bfloat16" if sweep.previews else ""
            st.progress(sweep.share, f"{sweep.done} of {sweep.total} {what}{by}{previews}")
            st.button("Pause", on_click=sweep.stop, key=key, width=96)
        elif sweep.share < 1:
            st.caption(f"Paused at {sweep.done} of {sweep.total} {what}.")
            st.button("Resume", on_click=sweep.go_on, key=key, width=96)
        elif sweep.previews:
            st.caption(f"{sweep.previews} of {sweep.total} {what} are previews, computed in bfloat16.", help=PREVIEWS)
            st.button("Compute exactly", on_click=sweep.compute_exactly, key=f"{key}-exactly")
        else:
            st.caption(complete)
