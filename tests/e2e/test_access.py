"""For everybody: texts for what is drawn, and nothing that jumps. (Axe looks at a page at the end of its journey.)"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from pages.ui import contents
from tests.e2e.access import AT_REST
from tests.e2e.test_journeys import SMALL, TINY, open_page, query, wait_for_query

FIGURE = ".js-plotly-plot .main-svg"


def test_cold_deep_link_to_the_lesson_opens_it_inside_the_shell(page: Page, address: str) -> None:
    """First of all tests: this server has not run app.py yet."""
    open_page(page, f"{address}/lesson?step=4&guess=50&{SMALL}")
    expect(page.get_by_role("heading", name="4. Collapse: which classes are predicted?")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Lesson")
    expect(page.get_by_test_id("stTopNavSection")).to_have_text(list(contents.CONTENTS))
    assert query(page)["step"] == "4"


def test_methods_and_limits_say_what_is_computed_and_whose_idea_it_was(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    page.goto(f"{address}/methods_and_limits")
    expect(page.get_by_role("link", name=re.compile("2502.15790")).first).to_be_visible()
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    for_everybody(page)


def test_an_outline_stands_until_the_first_result_and_never_again(page: Page, address: str) -> None:
    page.goto(f"{address}/?model=resnext-digits&evaluation_images=700")
    expect(page.locator(".skeleton")).to_be_visible()
    page.wait_for_selector(FIGURE)
    expect(page.locator(".skeleton")).to_have_count(0)
    page.evaluate("""() => {  // from here on any outline is counted, however short
      window.outlines = 0;
      new MutationObserver(() => { window.outlines += document.querySelectorAll(".skeleton").length; })
        .observe(document.body, { childList: true, subtree: true });
    }""")
    page.locator(".scope input[type=range]").press("ArrowRight")
    wait_for_query(page, sparsity="0.81")
    expect(page.locator(".scope .badge")).to_have_text("exact")
    assert page.evaluate("window.outlines") == 0


@pytest.fixture(scope="module")
def overview(shared: Page, address: str) -> Page:
    """The Overview with its figures."""
    shared.goto(f"{address}/?{TINY}&model=vgg-digits")
    shared.wait_for_selector(FIGURE)
    return shared


def tab_to(page: Page, wanted: Locator, most: int = 40) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element.getRootNode().activeElement === element"):
            return
    raise AssertionError(f"{wanted} is not reached by {most} tabs")


SHIFTS = """() => {
  window.shifted = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((each) => { window.shifted += each.value; }))
    .observe({ type: "layout-shift" });
}"""


def test_nothing_jumps_when_a_new_value_is_computed_and_drawn(overview: Page) -> None:
    """Cumulative layout shift, also right after a key; under 0.1 counts as good (web.dev/cls)."""
    slider = overview.locator(".scope input[type=range]")
    overview.get_by_test_id("stMain").evaluate("(main) => main.scrollTo(0, 0)")
    slider.focus()
    overview.evaluate(AT_REST)
    overview.evaluate(SHIFTS)
    begin = int(slider.input_value())
    for percent in range(begin + 1, begin + 5):
        slider.press("ArrowRight")
        expect(overview.locator(".scope")).to_have_attribute("data-shown", f"{percent / 100:g}")
        expect(overview.locator(".scope .badge")).to_have_text("exact")
    overview.evaluate(AT_REST)
    assert overview.evaluate("window.shifted") < 0.1


def test_images_and_figures_have_a_text_that_says_what_they_show(overview: Page) -> None:
    for figure in overview.locator("[data-testid=stPlotlyChart]").all():
        assert (
            len(
                figure.get_attribute("aria-label")
                or figure.locator("[aria-label]").first.get_attribute("aria-label")
                or ""
            )
            > 30
        )
    for image in overview.locator("[data-testid=stMain] img").all():
        assert image.get_attribute("alt") is not None
    expect(overview.locator(".ratios .plot")).to_have_attribute("aria-valuetext", re.compile("pruned ratio from"))
    expect(overview.locator(".answers .plot")).to_have_attribute("aria-label", re.compile("Predicted classes"))


def test_the_page_has_landmarks_and_headings(overview: Page) -> None:
    for role in ("main", "banner"):
        expect(overview.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
    expect(overview.get_by_role("region", name="Sidebar")).to_have_count(1)
    expect(overview.get_by_role("region", name="Signal scope")).to_have_count(1)
    assert overview.get_by_role("heading").count() >= 5
