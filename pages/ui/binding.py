"""How the control of a number is bound to the link."""

from __future__ import annotations

import math
from typing import Literal

import streamlit as st


def bound(name: str) -> Literal["query-params"] | None:
    """To the parameter of that name, unless the link says infinity there: Streamlit 1.67 raises OverflowError then."""
    try:
        finite = math.isfinite(float(st.query_params.get(name, "0")))
    except ValueError:
        finite = True  # no number at all: Streamlit itself sets it aside
    return "query-params" if finite else None
