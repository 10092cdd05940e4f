"""Previews on the pages: called what they are, and replaced when the exact points are asked for."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from reflow_core.lab import request
from tests.app.test_pages import open_app, says, scopes


def marks(app: AppTest) -> set[str]:
    """The symbols of the curve after REFLOW."""
    traces = json.loads(app.get("plotly_chart")[0].proto.spec)["data"]
    symbols = next(trace["marker"]["symbol"] for trace in traces if trace.get("name") == "magnitude → reflow")
    return {symbols} if isinstance(symbols, str) else set(symbols)


@pytest.fixture(autouse=True)
def _long_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each pass took long, and little of it in bfloat16."""
    monkeypatch.setattr(request, "preview_pays", lambda spec, source: True)


def test_the_sweep_page_calls_its_previews_so_and_replaces_them_on_a_click() -> None:
    tiny = {"evaluation_images": "32", "calibration_images": "16", "seed": "12"}
    app = open_app("sweep", criteria="magnitude", repairs="reflow", **tiny)
    assert says(app, "19 of 20 diagnoses are previews, computed in bfloat16.")
    assert marks(app) == {"triangle-up-open", "triangle-up"}, "0.8 was computed exactly for the Overview"
    app.button(key="sweep-toggle-exactly").click().run()
    assert says(app, "All 20 diagnoses are computed")
    assert marks(app) == {"triangle-up"}


def test_the_overview_marks_the_previews_of_its_sweep() -> None:
    tiny = {"evaluation_images": "32", "calibration_images": "16", "seed": "13"}
    app = open_app(**tiny)
    app.button(key="sweep-toggle").click().run()
    assert says(app, "sparsities are previews")
    points = scopes(app)[0]["points"]
    assert sum(not point["preview"] for point in points) == 1, "the one that is shown is exact"
    assert not scopes(app)[0]["exact"]["preview"]
