"""The pinned view, A: kept for the visit and in the link, as the text of what differs from the defaults."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import streamlit as st

from pages.ui.lab import lab
from pages.ui.session import session
from reflow_core.diagnosis.links import admitted
from reflow_core.spec import Spec

NAME = "a"  # of the link's parameter


def pin(spec: Spec) -> None:
    """Make a view A from now on."""
    session().pinned, session().pin_problems = spec, []


def pin_button(spec: Spec) -> None:
    """In the sidebar of every page with controls."""
    st.button(
        "Pin this view as A",
        on_click=pin,
        args=(spec,),
        icon=":material/push_pin:",
        width="stretch",
        help="Then change anything: the Compare page shows both side by side.",
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
