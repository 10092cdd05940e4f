"""Timings that other work disturbed are marked on the page, and taken again on a click or once it is quiet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from reflow_core.lab.request import Request
from tests.app.test_pages import open_app

MARK = "Timed while other work ran"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch, quick_timing: None) -> Iterator[list[str]]:
    """The inspections that are computed, in order; every timing counts as disturbed."""
    made: list[str] = []
    compute = Request.compute
    monkeypatch.setattr("reflow_core.production.timing.BUSY", -1.0)
    monkeypatch.setattr(
        Request, "compute", lambda self, *rest: (made.append(self.inspection or ""), compute(self, *rest))[1]
    )
    yield made


def marked(app: AppTest) -> bool:
    assert not app.exception and not app.error
    return any(MARK in warning.value for warning in app.warning)


def test_a_disturbed_timing_is_marked_and_taken_again_on_a_click(
    computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.ui.findings.quiet", lambda: False)
    app = open_app("hardware", model="vgg-digits", seed="11").run()
    assert marked(app)
    computed.clear()
    app.run()
    assert "hardware" not in computed, "what is stored is shown"
    next(button for button in app.button if button.label == "Repeat the timing").click().run()
    assert marked(app) and computed.count("hardware") == 1


def test_it_is_taken_again_once_by_itself_when_the_machine_is_quiet(
    computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.ui.findings.quiet", lambda: False)
    app = open_app("hardware", model="vgg-digits", seed="12").run()
    computed.clear()
    monkeypatch.setattr("pages.ui.findings.quiet", lambda: True)
    app.run()
    assert marked(app) and computed.count("hardware") == 1
    app.run()
    assert computed.count("hardware") == 1, "once"


def test_what_nothing_disturbed_is_not_marked(monkeypatch: pytest.MonkeyPatch, quick_timing: None) -> None:
    monkeypatch.setattr("reflow_core.production.timing.BUSY", 1e9)
    app = open_app("hardware", model="vgg-digits", seed="13")
    assert not marked(app) and not any(button.label == "Repeat the timing" for button in app.button)
    headline = next(each.value for each in app.markdown if each.value.startswith("#### "))
    assert headline.startswith("#### End to end"), "the whole network comes before one kernel"


def test_checks_that_hold_are_no_success_of_the_network(quick_timing: None) -> None:
    app = open_app("structured_pruning", channels="70", repair="none")
    headline = next(each.value for each in app.markdown if each.value.startswith("#### "))
    assert "Passed" not in headline and any("checks of the cut pass" in each.value for each in app.markdown)
