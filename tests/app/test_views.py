"""The views of the first page through AppTest: what is drawn below the slider, and what belongs to it alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.test_pages import open_app

TABLES = {"panels": "answers-data", "stream": "stream-data", "features": "features-data"}
ALIKE = ("value", "exact", "layers", "layer", "points", "file")  # whatever the view


def drawn(app: AppTest) -> dict[str, Any]:
    """All that the scope was sent."""
    sent: dict[str, Any] = json.loads(app.get("bidi_component")[0].proto.json)
    return sent


def expanders(app: AppTest) -> set[str]:
    return {str(box.label).removeprefix("Show data: ") for box in app.main.expander if "Show data" in str(box.label)}


def test_a_view_changes_what_is_drawn_below_the_cards_and_nothing_else() -> None:
    app = open_app(sparsity="0.7")
    panels = drawn(app)
    assert panels["views"] == ["panels"] and "portraits" not in panels
    assert "predictions by class" in expanders(app)
    app.button_group(key="show").set_value("stream").run()
    stream = drawn(app)
    assert stream["views"] == ["stream"] and stream["portraits"][-1]["sparsity"] == 0.7
    assert "variance by layer" in expanders(app) and "predictions by class" not in expanders(app)
    app.number_input(key="image").set_value(3).run()
    assert drawn(app)["image"] == 3
    app.button_group(key="show").set_value("features").run()
    features = drawn(app)
    assert features["views"] == ["features"] and len(features["portraits"][0]["points"]["dense"]) == 64
    assert "map of features" in expanders(app) and not [each for each in app.number_input if each.key == "image"]
    for sent in (stream, features):
        assert {name: sent[name] for name in ALIKE} == {name: panels[name] for name in ALIKE}
    assert not app.exception and not app.error


@pytest.mark.parametrize("view", ["stream", "features"])
def test_a_view_has_its_own_link(view: str) -> None:
    app = open_app(show=view, image="2")
    assert drawn(app)["views"] == [view] and drawn(app)["image"] == 2


def test_a_view_that_is_none_is_said_and_the_panels_stand() -> None:
    app = open_app(show="steam")
    assert any("steam" in each.value and "'stream'" in each.value for each in app.warning)
    assert drawn(app)["views"] == ["panels"] and not app.exception


def test_the_demo_mode_draws_what_it_drew_before() -> None:
    assert drawn(open_app(demo="1"))["views"] == ["stream", "features"]
