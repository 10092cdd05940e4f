"""The head of a page: its name, why it matters, and a line for what is seen and what one can do with it.

Drawn before anything heavy is imported; what belongs in the line is known later, its place is not.
"""

from __future__ import annotations

import streamlit as st

from pages.ui import steps
from pages.ui.contents import Entry
from pages.ui.session import session


def draw(entry: Entry) -> None:
    """The head, with an empty line."""
    with st.container(key="head", gap=None):
        st.title(entry.title, anchor=False)
        if entry.why:
            st.markdown(entry.why)
        line = session().line = st.container(key="line", horizontal=True, vertical_alignment="center", gap="small")
        with line:  # what stands for it until it is loaded makes a row no higher
            steps.draw()
