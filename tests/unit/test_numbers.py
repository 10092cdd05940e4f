"""One format for every number that a person reads."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import numbers
from reflow_core.numbers import (
    between,
    column,
    count,
    decimal,
    in_points,
    milliseconds,
    p_value,
    parameters,
    percent,
    points_between,
    ratio,
    seconds,
    signed_points,
    significant,
    size,
    sparsity_of,
    times,
    whole_percent,
)
from tests.e2e.browser import ROOT


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (percent(0.9914), "99.1 %"),
        (percent(0.0), "0.0 %"),
        (percent(1.0), "100.0 %"),
        (percent(0.0003), "< 0.1 %"),
        (percent(0.99991), "> 99.9 %"),
        (percent(-0.02), "−2.0 %"),
        (percent(None), "–"),
        (whole_percent(0.004), "< 1 %"),
        (whole_percent(0.996), "> 99 %"),
        (whole_percent(1.0), "100 %"),
        (sparsity_of(0.975), "97.5 %"),
        (in_points(0.856), "85.6 points"),
        (in_points(-0.0001), "0.0 points"),
        (signed_points(-0.855), "−85.5 points"),
        (signed_points(0.0), "0.0 points"),
        (ratio(0.0084), "0.0084"),
        (ratio(0.033), "0.033"),
        (ratio(0.999), "1.0"),
        (ratio(5123.0), "5,100"),
        (ratio(3e-7), "< 0.0001"),
        (ratio(None), "–"),
        (p_value(9e-186), "p < 0.001"),
        (p_value(0.0321), "p = 0.032"),
        (p_value(0.5), "p = 0.50"),
        (count(268336), "268,336"),
        (parameters(4586), "4,586 parameters"),
        (parameters(272474), "272 k parameters"),
        (parameters(4652008), "4.65 M parameters"),
        (milliseconds(0.42), "0.420 ms"),
        (milliseconds(1234.4), "1,230 ms"),
        (seconds(0.423), "0.42 s"),
        (seconds(12.3), "12 s"),
        (seconds(150), "2 min"),
        (size(842), "842 B"),
        (size(17_350_000), "17.4 MB"),
        (times(0.12), "0.12"),
        (times(0.004), "0.004"),
    ],
)
def test_how_a_number_is_written(written: str, wanted: str) -> None:
    assert written.replace("\u00a0", " ") == wanted


def test_differences_are_of_what_is_shown() -> None:
    """99.14 % and 13.57 % stood beside 85.6 points, which 99.1 and 13.6 do not give."""
    assert points_between(0.9914, 0.1357) == "85.5 points"


@given(some.integers(0, 5000), some.integers(0, 5000))
def test_two_accuracies_and_their_difference_add_up(one: int, other: int) -> None:
    before, after = one / 5000, other / 5000
    shown = [float(f"{100 * each:.1f}") for each in (before, after)]
    assert 100 * between(before, after) == pytest.approx(shown[0] - shown[1])


@given(some.floats(0, 1))
def test_only_what_is_all_or_nothing_reads_so(share: float) -> None:
    for text in (percent(share), whole_percent(share)):
        assert (float(text.rstrip("\u00a0%")) in (0.0, 100.0) if "<" not in text and ">" not in text else False) == (
            share in (0.0, 1.0)
        )


@given(some.floats(-1e12, 1e12), some.integers(1, 5))
def test_no_exponent_is_written_and_the_value_is_kept(value: float, digits: int) -> None:
    text = significant(value, digits)
    assert re.fullmatch(r"−?[\d,]+(\.\d+)?", text)
    if value and abs(value) > 1e-300:
        read = float(text.replace("−", "-").replace(",", ""))
        assert read == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


@given(some.lists(some.floats(-1e6, 1e6) | some.none() | some.integers(-99, 99), min_size=1, max_size=20))
def test_a_column_has_one_number_of_decimals_and_no_none(values: list[float | None]) -> None:
    write = column(values)
    cells = [write(value) for value in values]
    assert all((cell == numbers.MISSING) == (value is None) for cell, value in zip(cells, values, strict=True))
    assert len({len(cell.partition(".")[2]) for cell in cells if cell != numbers.MISSING}) <= 1
    assert not any("e" in cell or "-" in cell or "None" in cell for cell in cells)


def test_a_column_of_ratios_and_one_of_words() -> None:
    write = column([1.0, 0.0084, math.nan])
    assert [write(each) for each in (1.0, 0.0084, math.nan)] == ["1.000", "0.008", "–"]
    words = column(["conv1", None, True])
    assert [words(each) for each in ("conv1", None, True)] == ["conv1", "–", "True"]
    assert column([-89, 99.429])(-89) == "−89.0" and decimal(-0.04, 1) == "0.0"


def test_no_label_of_a_figure_has_an_exponent() -> None:
    """d3's "g" writes 8.4e-7 for a small number, its "r" never does."""
    figures = list((ROOT / "reflow_core" / "present" / "figures").glob("*.py"))
    assert len(figures) > 8
    assert not [file.name for file in figures if re.search(r"%\{[^}]*:[^}]*[eg]\}", file.read_text())]
