"""Sparsities by layer on the Overview: the slider stands at what they reach together and scales them."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from reflow_core.spec import DEFAULTS
from tests.app.test_pages import open_app, scopes

BY_HAND = {"allocation": "custom", "sparsity": "0.0", "layer_sparsity": "layer3.2.conv2:0.9"}


def scope_of(app: AppTest) -> dict[str, Any]:
    return scopes(app)[0]


def test_the_slider_stands_at_the_sparsity_that_is_reached() -> None:
    app = open_app(**BY_HAND)
    assert not app.exception and not app.error
    data = scope_of(app)
    assert not data["fixed"] and 0.1 < data["value"] < 0.2, "one of the largest layers, nearly all of it"
    headline = data["exact"]["headline"].replace("\u00a0", " ")
    assert headline.startswith(f"{100 * data['value']:.0f} % of the weights removed") and data["exact"]["sparsity"] > 0


def test_the_link_to_a_budget_holds_every_field() -> None:
    """Nothing that the page had no control for is left to the visit: a reload knows the link only."""
    app = open_app(**{"allocation": "scaled", "layer_sparsity": "layer3.2.conv2:0.9", "sparsity": "0.1"})
    assert scope_of(app)["value"] == 0.1
    assert app.text_input(key="layer_sparsity").value == "layer3.2.conv2:0.9"
    assert app.selectbox(key="allocation").value == "scaled" != DEFAULTS["allocation"]
