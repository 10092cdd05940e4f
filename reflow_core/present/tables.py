"""How a table is written where a person reads it; files keep its values as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from reflow_core.numbers import MISSING, column, p_value

P_VALUES = ("p", "p value")  # columns of p values, by their heading


def formatters(frame: pd.DataFrame) -> dict[str, Callable[[Any], str]]:
    """By column, how to write a value: one number of decimals, a dash for what is missing, p values as such."""
    return {
        str(name): _p if str(name) in P_VALUES else column(frame[name].tolist())
        for name in frame
        if not pd.api.types.is_bool_dtype(frame[name])
    }


def as_html(frame: pd.DataFrame) -> str:
    """A table as HTML, its text escaped."""
    return str(frame.to_html(index=False, border=0, na_rep=MISSING, formatters=formatters(frame)))


def as_text(frame: pd.DataFrame) -> str:
    """A table for a terminal."""
    return str(frame.to_string(index=False, na_rep=MISSING, formatters=formatters(frame)))


def _p(value: Any) -> str:
    return MISSING if value is None or pd.isna(value) else p_value(float(value)).removeprefix("p ").removeprefix("= ")
