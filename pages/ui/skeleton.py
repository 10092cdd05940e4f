"""The outline of a page that is opened: what will stand where, while its first result is computed."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui.session import KEY, session
from pages.ui.styles import style

CARDS, PANELS = 3 * '<div class="card"></div>', 2 * "<div></div>"
OUTLINE = (
    f'<div class="skeleton" aria-hidden="true"><div class="line"></div><div class="dial"></div>{CARDS}{PANELS}</div>'
)


POLL_S = 0.1


def enter(page: str) -> None:
    """A run of a page begins."""
    session().page = page


def until(ready: Callable[[float], bool]) -> None:
    """The outline, for as long as a page cannot be drawn yet. `ready`: says so, after some seconds at most."""
    slot = st.empty()  # in every run, so that what follows keeps its place on the page
    if ready(0.0):
        return
    outline(slot)
    while not ready(POLL_S):
        _ = KEY in st.session_state  # any look into the session lets a newer run interrupt
    slot.empty()


def result_shown() -> None:
    """The page has its first result: from now on what stands there stays until newer values replace it."""
    session().drawn = session().page


def outline(slot: DeltaGenerator) -> DeltaGenerator:
    """Where progress is shown: above the page, or above the outline of one on which nothing stands yet."""
    if session().drawn == session().page:
        return slot.container(key=f"computing-{secrets.token_hex(4)}").empty()  # unlike any other of this run
    with slot.container():
        place = st.container(height=56, border=False).empty()
        st.html(style("outline") + OUTLINE)
    return place
