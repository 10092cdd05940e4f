"""What each of four people comes for, by keyboard alone and on a phone: explorer, teacher, presenter, engineer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.access import AT_REST
from tests.e2e.test_access import tab_to
from tests.e2e.test_journeys import SMALL, open_page, wait_for_query
from tests.thorough import THOROUGH

QUICK = f"{SMALL}&model=vgg-digits"


class Keys:
    """A person who has no pointer."""

    width = 1280

    def press(self, page: Page, target: Locator) -> None:
        """Reach it by Tab, and press it."""
        expect(target).to_be_visible()
        page.evaluate(AT_REST)
        tab_to(page, target, 80)
        page.keyboard.press("Enter")

    def choose(self, page: Page, chosen: Locator, target: Locator) -> None:
        """The one beside the `chosen` one: Tab reaches a group, arrows what is in it."""
        page.evaluate(AT_REST)
        tab_to(page, chosen, 80)
        page.keyboard.press("ArrowRight")
        expect(target).to_be_focused()
        page.keyboard.press("Enter")

    def go(self, page: Page, menu: str, title: str) -> None:
        """By the menus."""
        self.press(page, page.get_by_role("button", name=menu, exact=True))
        expect(page.get_by_role("menuitem").first).to_be_focused()
        while page.evaluate(f"document.activeElement.textContent.includes({json.dumps(title)})") is False:
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)

    def write(self, page: Page, target: Locator, text: str) -> None:
        """Reach a field by Tab, and type into it."""
        page.evaluate(AT_REST)
        tab_to(page, target, 80)
        page.keyboard.press("Control+a")
        page.keyboard.type(text)


class Phone(Keys):
    """A person with a screen of 390 pixels."""

    width = 390

    def press(self, page: Page, target: Locator) -> None:
        expect(target).to_be_visible()
        page.evaluate(AT_REST)
        target.click()

    def go(self, page: Page, menu: str, title: str) -> None:
        page.get_by_role("button", name=menu, exact=True).click()
        page.get_by_role("menuitem", name=title, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(title)

    def choose(self, page: Page, chosen: Locator, target: Locator) -> None:
        self.press(page, target)

    def write(self, page: Page, target: Locator, text: str) -> None:
        target.fill(text)


def people(usual: type[Keys]) -> pytest.MarkDecorator:
    """Who goes on a journey: both, or in `make test` the `usual` one."""
    return pytest.mark.parametrize("person", [Keys, Phone] if THOROUGH else [usual], indirect=True)


@pytest.fixture
def person(request: pytest.FixtureRequest, page: Page) -> Iterator[Keys]:
    """Who looks at the page, at whose width it must never scroll sideways."""
    acting: Keys = request.param()
    page.set_viewport_size({"width": acting.width, "height": 800})
    yield acting
    assert page.evaluate("document.documentElement.scrollWidth") <= acting.width
    expect(page.get_by_test_id("stException")).to_have_count(0)


@people(Keys)
def test_an_explorer_moves_the_slider_opens_a_layer_sees_the_stream_and_sweeps(
    page: Page, address: str, person: Keys
) -> None:
    open_page(page, f"{address}/?{QUICK}")
    slider = page.locator(".scope input[type=range]")
    if isinstance(person, Phone):
        box = slider.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 0.91 * box["width"], box["y"] + box["height"] / 2)
    else:
        tab_to(page, slider, 80)
        page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(r"sparsity=0\.(8[1-9]|9)"))
    layers = page.locator(".ratios .layers")
    if isinstance(person, Phone):
        layers.click(position={"x": 60, "y": 60})
    else:
        tab_to(page, layers, 80)
        page.keyboard.press("Home")
    page.wait_for_url(re.compile("layer="))
    person.choose(page, *(page.get_by_role("radio", name=view) for view in ("panels", "stream")))
    expect(page.locator(".scope .stream")).to_be_visible()
    person.go(page, "Compare", "Sweep")
    expect(page.locator("[data-testid=stMain] h4").first).to_contain_text("Accuracy at")


@people(Phone)
def test_a_teacher_asks_for_a_prediction_and_goes_on(page: Page, address: str, person: Keys) -> None:
    open_page(page, f"{address}/?{QUICK}")
    person.go(page, "Explore", "Lesson")
    person.write(page, page.get_by_role("spinbutton", name="Predict"), "50")
    person.press(page, page.get_by_role("button", name="Show what happens"))
    expect(page.get_by_text(re.compile("you predicted 50", re.IGNORECASE)).first).to_be_visible()
    person.press(page, page.get_by_role("button", name="Next"))
    expect(page.get_by_role("heading", level=2)).to_have_text(re.compile("^2. "))
    expect(page.get_by_role("spinbutton", name="Predict")).to_be_visible()


@people(Keys)
def test_a_presenter_shows_the_collapse_then_the_repair_and_leaves(page: Page, address: str, person: Keys) -> None:
    open_page(page, f"{address}/?{QUICK}")
    person.press(page, page.get_by_role("button", name="Demo"))
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    status, presets = page.locator(".scope .status"), page.locator(".scope .presets button")
    expect(presets).to_have_count(5)
    for number, words in ((3, "collapsed"), (4, "recovered")):
        if isinstance(person, Phone):
            presets.nth(number - 1).click()
        else:
            page.keyboard.press(str(number))
        expect(status).to_have_text(re.compile(words, re.IGNORECASE))
    if not isinstance(person, Phone):
        page.keyboard.press("Escape")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


@people(Phone)
def test_an_engineer_sets_a_limit_gets_a_verdict_and_takes_it_along(page: Page, address: str, person: Keys) -> None:
    open_page(page, f"{address}/?{QUICK}&sparsity=0.9&repair=none")
    person.go(page, "Deploy", "Slices and gate")
    expect(page.locator("[data-testid=stMain] h4").first).to_contain_text("Failed")
    person.press(page, page.get_by_test_id("stExpander").filter(has_text="Release limits").locator("summary"))
    limit = page.get_by_role("spinbutton", name="Maximum overall loss (points)")
    person.write(page, limit, "100")
    limit.press("Enter")
    wait_for_query(page, drop="100")
    person.press(page, page.get_by_test_id("stExpander").filter(has_text="Export and share").first.locator("summary"))
    file = page.get_by_role("button", name="JSON").first
    expect(file).to_be_visible()
    page.evaluate(AT_REST)
    with page.expect_download() as waiting:
        person.press(page, file)
    assert json.loads(Path(waiting.value.path()).read_text())["passed"] is False
