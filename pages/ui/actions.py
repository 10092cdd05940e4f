"""The line under a page's name: what is seen, and what one can do with it: pin it, share it, present it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from pages.ui.contents import FIRST, pages
from pages.ui.pins import pin_button
from pages.ui.session import session
from pages.ui.share import share_button
from pages.ui.text import literal
from reflow_core.spec import Spec


def name_view(words: Iterable[str]) -> None:
    """Name what is seen."""
    if (line := session().line) is not None:
        line.markdown(" · ".join(map(literal, words)), width="stretch")


def offer_actions(spec: Spec) -> None:
    """What one can do with a view, beside its name."""
    if (line := session().line) is None:
        return
    with line:
        pin_button(spec)
        share_button()
        if Path(session().page).stem == FIRST:  # whose scope is all that the demo mode shows
            st.page_link(pages()[FIRST].path, label="Demo", icon=":material/slideshow:", query_params={"demo": "1"})
