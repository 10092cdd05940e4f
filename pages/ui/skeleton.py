"""The outline of a page that is opened: what will stand where, while its first result is computed."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

PAGE, DRAWN = "_page", "_drawn_page"
OUTLINE = """
<style>
  .skeleton { display: grid; grid-template-columns: repeat(6, 1fr); gap: 0.9rem; }
  .skeleton div { grid-column: span 3; height: 19rem; border-radius: 10px;
    background: color-mix(in srgb, currentColor 8%, transparent); }
  .skeleton .line { grid-column: span 6; height: 2.2rem; width: 70%; }
  .skeleton .dial { grid-column: span 6; height: 7rem; }
  .skeleton .card { grid-column: span 2; height: 8rem; }
  @media (max-width: 720px) { .skeleton div { grid-column: span 6; } .skeleton .card { grid-column: span 2; } }
  @media (prefers-reduced-motion: no-preference) {
    .skeleton { animation: breathe 1.6s ease-in-out infinite alternate; }
    @keyframes breathe { to { opacity: 0.55; } }
  }
</style>
<div class="skeleton" aria-hidden="true"><div class="line"></div><div class="dial"></div><div class="card"></div>
<div class="card"></div><div class="card"></div><div></div><div></div></div>
"""


def enter(page: str) -> None:
    """A run of a page begins."""
    st.session_state[PAGE] = page


def drawn() -> None:
    """The page has its first result: from now on what stands there stays until newer values replace it."""
    st.session_state[DRAWN] = st.session_state.get(PAGE)


def outline(slot: DeltaGenerator) -> DeltaGenerator:
    """Where progress is told: `slot`, or a place above the outline of a page on which nothing stands yet."""
    if st.session_state.get(DRAWN) == st.session_state.get(PAGE):
        return slot
    with slot.container():
        place = st.empty()
        st.html(OUTLINE)
    return place
