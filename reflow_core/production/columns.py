"""Columns of a person's own: a CSV file with a row an image, as a table."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from reflow_core import sandbox
from reflow_core.errors import ReflowError
from reflow_core.production import gate
from reflow_core.sandbox import Limits
from reflow_core.spec import MOST_IMAGES
from reflow_core.watch import Watch, ignore

OURS = (gate.ALL, "class", "rarity", "confidence", "brightness", "contrast")  # what is sliced by without a CSV
MOST_BYTES, MOST_ROWS, MOST_COLUMNS = 16 << 20, MOST_IMAGES, 50  # of a CSV
LIMITS = Limits(memory=1 << 30, seconds=8, written=256 << 20)


def read_table(file: Path | IO[bytes]) -> pd.DataFrame:
    """A CSV as a table with names of its own for its columns. Raises ReflowError."""
    return _table_of(_content(file))


def rewrite(path: Path, out: Path) -> None:
    """Write the table of a CSV to `out`. Raises ReflowError."""
    table = read_table(path)
    words = table.select_dtypes(exclude="number")
    table.assign(**{name: words[name].map(str, na_action="ignore").astype(object) for name in words}).to_feather(out)


def strange_columns(path: Path, name: str, watch: Watch = ignore) -> pd.DataFrame:
    """The table of a visitor's CSV, read by a worker process. Raises ReflowError and what `watch` does."""
    with sandbox.reading(rewrite, (path,), name, LIMITS, watch) as out:
        return pd.read_feather(out)


def _content(file: Path | IO[bytes]) -> bytes:
    """What a file holds, if that is not too much."""
    with file.open("rb") if isinstance(file, Path) else contextlib.nullcontext(file) as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ReflowError(f"The CSV is larger than {MOST_BYTES >> 20} MB; use fewer columns.")
    return content


def _table_of(content: bytes) -> pd.DataFrame:
    """A CSV as a table with names of its own for its columns."""
    try:
        text = content.decode("utf-8-sig").lstrip("\r\n")
        names = [name.strip() for name in next(csv.reader(io.StringIO(text, newline="")), [])]
        _check_names(names)
        table = pd.read_csv(io.StringIO(text), nrows=MOST_ROWS + 1)
    except ReflowError:
        raise
    except (ValueError, csv.Error, OverflowError, ArithmeticError, LookupError, TypeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReflowError(f"The columns could not be read as CSV ({reason}); save them as UTF-8 text.") from None
    if not isinstance(table.index, pd.RangeIndex) or table.shape[1] != len(names):
        raise ReflowError(
            f"Rows of the CSV have more cells than the {len(names)} column names; give each column a name."
        )
    if len(table) > MOST_ROWS:
        raise ReflowError(f"The CSV has more than {MOST_ROWS:,} rows; use one row per test image.")
    infinite = [name for name, cells in table.select_dtypes("number").items() if np.isinf(cells.astype(float)).any()]
    if infinite:
        raise ReflowError(f"The column {infinite[0]!r} has infinite values; leave those cells empty.")
    return table.set_axis(names, axis=1)


def _check_names(names: Sequence[str]) -> None:
    """Raises ReflowError for names of columns that would be taken for another's."""
    if len(names) > MOST_COLUMNS:
        raise ReflowError(f"The CSV has {len(names):,} columns; at most {MOST_COLUMNS} are allowed.")
    for place, name in enumerate(names):
        if not name:
            raise ReflowError(f"Column {place + 1} of the CSV has no name; name it in the first row.")
        if name in OURS:
            raise ReflowError(f"The column {name!r} has a name that is reserved for built-in slices; rename it.")
        if name in names[:place]:
            raise ReflowError(f"The CSV has two columns {name!r}; rename one.")
