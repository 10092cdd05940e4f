"""The address of what is seen, to be copied."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlencode

import streamlit as st

from pages.ui.session import session


def share_button() -> None:
    """Opens the link, once the page has run again: a part of it that ran alone may have changed its address."""
    with st.popover("Share", icon=":material/share:", type="tertiary", key="share-link", on_change="rerun"):
        st.caption("This link opens the same view.")
        session().link = st.empty()


def show_link() -> None:
    """The link, at the end of a run, when all of the page has read what is its own."""
    if (place := session().link) is not None:
        place.code(link(), language=None, wrap_lines=True)


def link(without: Collection[str] = ()) -> str:
    """The address of the page as it is, but for some of its parameters."""
    kept = [name for name in st.query_params if name not in without]
    given = urlencode([(name, value) for name in kept for value in st.query_params.get_all(name)], safe=":,/@")
    return f"{st.context.url}?{given}" if given else str(st.context.url)
