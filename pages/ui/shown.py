"""What the page has shown since it was last taken away: its figures and tables, for the report."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import streamlit as st

from reflow_core.present.figures import Chart

SHOWN = "_shown"


@dataclass
class Shown:
    """Figures by heading and tables by title, in the order of the page."""

    charts: dict[str, Chart] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def begin() -> None:
    """A page is drawn anew: nothing is shown yet."""
    st.session_state[SHOWN] = Shown()


def shown() -> Shown:
    """What is shown so far, to be added to."""
    found: Shown = st.session_state.setdefault(SHOWN, Shown())
    return found


def taken() -> Shown:
    """What was shown since the last time; what follows is shown afresh."""
    found = shown()
    begin()
    return found
