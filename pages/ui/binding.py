"""How controls are bound to the link: what Streamlit 1.67 does not do by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx


def bound(name: str) -> Literal["query-params"] | None:
    """To the parameter of that name, unless the link says infinity there: Streamlit 1.67 raises OverflowError then."""
    try:
        finite = math.isfinite(float(st.query_params.get(name, "0")))
    except ValueError:
        finite = True  # no number at all: Streamlit itself sets it aside
    return "query-params" if finite else None


def shown_by(name: str) -> object | None:
    """What the control of that name shows, which may be drawn only further below; None where nobody has said.

    After Back or Forward that is what the link says. Streamlit heeds it not before the control is drawn.
    """
    if went_back():
        return st.query_params.get(name)
    said: object | None = st.session_state.get(name, st.query_params.get(name))
    return said


def went_back() -> bool:
    """Whether the page runs because of the browser's Back or Forward."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def restore_link() -> None:
    """At the beginning of a run: have the whole link that Back or Forward has restored.

    Where they lead to another page, Streamlit drops from it what the page before has controls for, also where both
    pages have them; then they would all stand at their defaults.
    """
    context = get_script_run_ctx()
    if context is None or not context.is_history_navigation:
        return
    with context.session_state.query_params() as parameters:
        before = dict(parameters)
        parameters.set_initial_query_params(context.query_string)
        parameters.populate_from_query_string(context.query_string)
        if dict(parameters) != before:  # the browser was told so
            parameters._send_query_param_msg()


def put_in_link(values: Mapping[str, object]) -> None:
    """Before the controls of a page are drawn: have the link say these values, by parameter.

    A control that is drawn for the first time shows a value that is handed to it, but leaves the link as it is.
    """
    context = get_script_run_ctx()
    if context is None or not values:
        return
    with context.session_state.query_params() as parameters:
        for name, value in values.items():
            parameters.set_with_no_forward_msg(name, str(value))
        parameters.set_initial_query_params_from_current()
        parameters._send_query_param_msg()
