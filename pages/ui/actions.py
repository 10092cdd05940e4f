"""The line under a page's name: what is seen, and what one can do with it: pin it, share it, present it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from pages.ui.contents import FIRST, pages
from pages.ui.docs import docs_button
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
            st.button("Demo", on_click=_enter_demo, icon=":material/slideshow:", type="tertiary")
        docs_button(pages()[Path(session().page).stem].doc)


def _enter_demo() -> None:
    """No link: one to the page that is open loses what it says when the controls put their own values into the link."""
    st.query_params["demo"] = "1"
