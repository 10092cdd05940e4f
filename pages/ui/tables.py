"""Tables as people read them: numbers in one format, a dash where there is none."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from reflow_core.numbers import MISSING, decimals
from reflow_core.present.tables import formatters

MOST_STYLED = 20_000  # cells; of larger tables only the decimals are set, which costs no time


def show_table(frame: pd.DataFrame, box: DeltaGenerator | None = None, **more: Any) -> None:
    "Show a table in a box or on the page, sorted by its values. `more`: what st.dataframe takes."
    place = st if box is None else box
    shown = frame.reset_index(drop=True)
    if shown.size <= MOST_STYLED:
        place.dataframe(shown.style.format(formatters(shown)), hide_index=True, placeholder=MISSING, **more)
        return
    columns = {
        str(name): st.column_config.NumberColumn(format=f"%.{decimals(shown[name])}f")
        for name in shown.select_dtypes("number")
    }
    place.dataframe(shown, hide_index=True, placeholder=MISSING, column_config=columns, **more)
