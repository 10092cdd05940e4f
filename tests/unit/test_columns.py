"""A person's own columns: what a spreadsheet brings in, and what it takes out."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.errors import ReflowError
from reflow_core.present.spreadsheet import csv_of
from reflow_core.production import slices
from reflow_core.production.gate import Limits

SPEC = Spec(sparsity=0.85, evaluation_images=60, calibration_images=32)


@pytest.fixture(scope="module")
def found(library: Library) -> Diagnosis:
    return diagnose(SPEC, library)


@pytest.fixture(scope="module")
def count(library: Library) -> int:
    return len(library.images(SPEC).test)


def read(library: Library, content: bytes) -> pd.DataFrame:
    return slices.columns(SPEC, library.images(SPEC), io.BytesIO(content))


@pytest.mark.parametrize("name", ["all", "class", "rarity", "confidence", "brightness", "contrast"])
def test_a_column_that_would_be_taken_for_ours_is_refused(
    name: str, library: Library, found: Diagnosis, count: int
) -> None:
    """A column "all" took the place of the overall row: the network was judged by its first value."""
    content = "\n".join([name, *(str(number % 2) for number in range(count))]).encode()
    with pytest.raises(ReflowError, match=f"The column '{name}' has a name that is reserved for built-in slices"):
        slices.finding(found, read(library, content), Limits())


def test_a_csv_that_is_none_is_a_sentence(library: Library, found: Diagnosis, count: int) -> None:
    def rows(header: str, cells: str) -> bytes:
        return "\n".join([header, *[cells] * count]).encode()

    for content, said in {
        rows("a,", "1,2"): "Column 2 of the CSV has no name",
        rows("a, ,b", "1,2,3"): "Column 2 of the CSV has no name",
        rows("a,b,a", "1,2,3"): "two columns 'a'",
        rows("a, a", "1,2"): "two columns 'a'",
        rows(" all", "1"): "reserved for built-in slices",
        rows("a", "1,2"): "more cells than the 1 column names",
        rows(",".join(f"c{number}" for number in range(51)), "1"): "51 columns; at most 50",
        rows("a", "1") + b"\ninf": "has infinite values",
        rows("image,a", "x,1"): "values that are not whole numbers",
        rows("image,a", "0.5,1"): "values that are not whole numbers",
        b"\x89PNG\r\n\x1a\n\x00\xff\xfe": "could not be read as CSV",
        b"\xff\xfe" + "a\n1\n".encode("utf-16-le"): "could not be read as CSV",
        b"": "could not be read as CSV",
        b"\n\n": "could not be read as CSV",
        b"a\n\x00": None,
        b'a\n"open': "could not be read as CSV",
        b"a,b\n1,2\n1,2,3\n": "could not be read as CSV",
        b"x" * 200_000: None,
        b"a\n" + b'"' * 300_000: None,
        b"a\n" + b"9" * 5000: None,
        b"a\n" + b"1\n" * (32 << 20): "larger than 16 MB",
        b"a\n" + b"\n1" * 1_000_001: "more than 1,000,000 rows",
    }.items():
        with pytest.raises(ReflowError, match=said):
            slices.finding(found, read(library, content), Limits())


def test_columns_of_any_kind_are_sliced_by(library: Library, found: Diagnosis, count: int) -> None:
    """Whatever pandas makes of the cells: words, dates, huge numbers, few values."""
    rows = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "word": rows.choice(["a", "=b", "–"], count),
            "huge": [10 ** (number % 30) for number in range(count)],
            "flag": rows.random(count) < 0.5,
            "date": pd.date_range("2020", periods=count).astype(str),
            "empty": [None] * count,
            "é": rows.normal(size=count),
        }
    )
    also = read(library, b"\xef\xbb\xbf" + table.to_csv(index=False).encode())
    kinds = set(slices.finding(found, also, Limits()).tables["Slices"].by)
    assert kinds >= {*table.columns, "all", "class"}


def test_a_spreadsheet_shows_text_as_text_and_numbers_as_numbers() -> None:
    hostile = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", '=HYPERLINK("http://x")']
    assert csv_of(pd.DataFrame({"a": ["b\r=1"]})) == 'a\n"b\n=1"\n'
    plain = ["-1", "+1e5", "-", "–", "word", "a=b", "", "conv1"]
    table = pd.DataFrame(
        {"=cmd": hostile, "loss": [-0.5] * 8, "plain": plain, "mixed": [-1, "=1", None, -2.5, "a", 1, 2, 3]}
    )
    header, *rows = csv.reader(io.StringIO(csv_of(table), newline=""))
    assert header == ["'=cmd", "loss", "plain", "mixed"]
    assert [row[0] for row in rows] == [f"'{cell}".replace("\r", "\n") for cell in hostile]
    assert {row[1] for row in rows} == {"-0.5"}
    assert [row[2] for row in rows] == ["-1", "+1e5", "'-", *plain[3:]]
    assert [row[3] for row in rows] == ["-1", "'=1", "", "-2.5", "a", "1", "2", "3"]
    numbers = pd.DataFrame({"a": [-1, 2], "b": [-0.25, None], "c": pd.Categorical(["-x", "y"])})
    assert csv_of(numbers[["a", "b"]]) == numbers[["a", "b"]].to_csv(index=False)
    assert csv_of(numbers).splitlines()[1] == "-1,-0.25,'-x" and numbers.c[0] == "-x"
