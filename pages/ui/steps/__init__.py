"""The browser's history as a Streamlit component without a face: one step for every change that a person makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

NAME = "reflow_steps"


@st.cache_resource
def _component() -> Callable[..., Any]:
    return st.components.v2.component(NAME, js=(Path(__file__).parent / "steps.js").read_text())


def draw() -> None:
    """Takes effect once a visit, for all of its pages; stands on each, for any may be the first."""
    _component()(key=NAME)
