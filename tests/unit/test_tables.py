"""Tables as people read them, on a page, in a report, in a terminal; the files keep every digit."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from pages.ui.tables import MOST_STYLED, show_table
from reflow_core import Library, Spec, diagnose
from reflow_core.present.spreadsheet import csv_of
from reflow_core.present.tables import as_html, as_text, formatters
from reflow_core.production.comparison import compared, written

MIXED = pd.DataFrame(
    {
        "what": ["accuracy", None, "ratio"],
        "change": [-89.0, 99.429, None],
        "ratio": [8.4e-3, 1.0, 0.0431],
        "p": [9e-186, 0.0321, None],
        "images": [700, 64, 1234],
        "kept": [True, False, True],
        "tiny": [1e-12, 0.5, 0.25],
    }
)


@pytest.mark.parametrize("writing", [as_html, as_text])
def test_a_table_has_no_none_no_exponent_and_one_number_of_decimals_a_column(
    writing: Callable[[pd.DataFrame], str],
) -> None:
    text = writing(MIXED).replace("&lt;", "<")
    assert not any(wrong in text for wrong in ("None", "nan", "NaN", "e-"))
    for cell in ("\u221289.0", "99.4", "\u2013", "0.008", "1.000", "0.043", "< 0.001", "0.032", "1,234", "True"):
        assert cell in text, cell
    assert "0.0000 " not in text and "< 0.000001" in text


def test_the_files_keep_every_digit() -> None:
    assert "0.0084" in csv_of(MIXED) and "9e-186" in csv_of(MIXED) and "99.429" in csv_of(MIXED)


def test_a_column_of_truths_is_left_to_the_page() -> None:
    assert "kept" not in formatters(MIXED)


def test_a_page_shows_what_formatters_write_and_sorts_by_values(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, dict[str, object]]] = []
    monkeypatch.setattr("streamlit.dataframe", lambda data, **more: calls.append((data, more)))
    show_table(MIXED)
    large = pd.DataFrame({"value": [0.123456] * (MOST_STYLED + 1)})
    show_table(large)
    (styled, more), (plain, also) = calls
    assert isinstance(styled, pd.io.formats.style.Styler) and styled.data.ratio.tolist() == MIXED.ratio.tolist()
    assert more["placeholder"] == also["placeholder"] == "\u2013"
    assert plain is not large and also["column_config"]["value"]["type_config"]["format"] == "%.3f"  # type: ignore[index]


def test_the_differences_of_a_and_b_are_of_what_is_shown(library: Library) -> None:
    few = {"evaluation_images": 96, "calibration_images": 32}
    a, b = (diagnose(Spec("vgg-digits", sparsity=at, **few), library) for at in (0.5, 0.9))  # type: ignore[arg-type]
    table = written(compared(a, b).tables["Numbers"])
    for row in table.itertuples(index=False):
        one, other, difference = (float(cell.replace("\u2212", "-")) for cell in row[1:])
        assert difference == pytest.approx(other - one, abs=1e-9), row
