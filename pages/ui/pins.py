"""The pinned view, A: kept for the visit and in the link, as the text of what differs from the defaults."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import streamlit as st

from pages.ui.lab import lab
from pages.ui.session import session
from pages.ui.text import literal
from reflow_core.diagnosis.links import admitted
from reflow_core.present.crumbs import crumbs
from reflow_core.spec import Spec

NAME = "a"  # of the link's parameter


def pin(spec: Spec) -> None:
    """Make a view A from now on, and say so."""
    session().pinned, session().pin_problems = spec, []
    named = " · ".join(map(literal, crumbs(spec)))
    st.toast(f"Pinned as A: {named}. Change anything, then open **Compare › A/B** to see both views side by side.")


def pin_button(spec: Spec) -> None:
    """In the head of every page with controls."""
    st.button(
        "Pinned as A" if session().pinned == spec else "Pin",
        on_click=pin,
        args=(spec,),
        icon=":material/push_pin:",
        type="tertiary",
        help="Keep this view as A, change anything, and compare both on Compare › A/B.",
        key="pin",
    )


def unpin() -> None:
    """Forget A."""
    session().pinned, session().pin_problems = None, []
    st.query_params.pop(NAME, None)


def pinned() -> tuple[Spec | None, list[str]]:
    """A, of this visit or else of the link, and what in the link was set aside; the link is made to hold it.

    What a person has pinned here may be of code or files of their own; its link opens in no other visit.
    """
    if session().pinned is None and NAME in st.query_params:
        given = dict(parse_qsl(st.query_params[NAME]))
        session().pinned, session().pin_problems = admitted(given, lab().public.library.access.code)
    spec = session().pinned
    if spec is not None:
        st.query_params[NAME] = urlencode({"model": spec.model} | spec.differences())
    return spec, session().pin_problems
