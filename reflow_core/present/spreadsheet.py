"""Tables as CSV that a spreadsheet opens: what is text stays text there, whoever wrote it."""

from __future__ import annotations

import re

import pandas as pd

FORMULA = re.compile(r"\s*[=+\-@]|[\t\r]")  # how a cell begins that a spreadsheet computes
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def csv_of(table: pd.DataFrame) -> str:
    """A table as CSV without its index. A text that a spreadsheet would compute gets an apostrophe in front.

    Numbers, and texts that are one, stay as they are. Source: OWASP, "CSV Injection".
    """
    harmless = table.rename(columns=_harmless)
    for place, kind in enumerate(table.dtypes):
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)):
            harmless.isetitem(place, table.iloc[:, place].astype(object).map(_harmless))
    return str(harmless.to_csv(index=False))


def _harmless(cell: object) -> object:
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")  # pandas quotes \n, but lets \r begin another row
    return f"'{text}" if FORMULA.match(cell) else text
