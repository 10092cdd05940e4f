"""For everybody: texts for what is drawn, and nothing that jumps. (Axe looks at a page at the end of its journey.)"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.e2e.access import AT_REST
from tests.e2e.test_journeys import wait_for_query

TINY = "evaluation_images=32&calibration_images=16&model=vgg-digits"
FIGURE = ".js-plotly-plot .main-svg"


def test_about_says_what_is_computed_and_whose_idea_it_was(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    page.goto(f"{address}/about")
    expect(page.get_by_role("link", name=re.compile("2502.15790")).first).to_be_visible()
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    for_everybody(page)


def test_images_and_figures_have_a_text_that_says_what_they_show(page: Page, address: str) -> None:
    page.goto(f"{address}/?{TINY}")
    page.wait_for_selector(FIGURE)
    for figure in page.locator("[data-testid=stPlotlyChart]").all():
        assert (
            len(
                figure.get_attribute("aria-label")
                or figure.locator("[aria-label]").first.get_attribute("aria-label")
                or ""
            )
            > 30
        )
    for image in page.locator("[data-testid=stMain] img").all():
        assert image.get_attribute("alt") is not None
    expect(page.locator(".ratios .plot")).to_have_attribute("aria-valuetext", re.compile("pruned ratio from"))
    expect(page.locator(".answers .plot")).to_have_attribute("aria-label", re.compile("Predicted classes"))


SHIFTS = """() => {
  window.shifted = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((each) => { window.shifted += each.value; }))
    .observe({ type: "layout-shift" });
}"""


def test_nothing_jumps_when_a_new_value_is_computed_and_drawn(page: Page, address: str) -> None:
    """Cumulative layout shift, also right after a key; under 0.1 counts as good (web.dev/cls)."""
    page.goto(f"{address}/?{TINY}")
    page.wait_for_selector(FIGURE)
    page.evaluate(AT_REST)
    page.evaluate(SHIFTS)
    slider = page.locator(".scope input[type=range]")
    slider.focus()
    for percent in (81, 82, 83):
        slider.press("ArrowRight")
        expect(page.locator(".scope")).to_have_attribute("data-shown", f"{percent / 100:g}")
        expect(page.locator(".scope .badge")).to_have_text("exact")
    page.evaluate(AT_REST)
    assert page.evaluate("window.shifted") < 0.1


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


def tab_to(page: Page, wanted: Locator, most: int = 40) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element.getRootNode().activeElement === element"):
            return
    raise AssertionError(f"{wanted} is not reached by {most} tabs")


def test_a_keyboard_alone_moves_the_slider_chooses_a_layer_and_takes_away(page: Page, address: str) -> None:
    page.goto(f"{address}/?{TINY}")
    page.wait_for_selector(FIGURE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, page.locator(".scope input[type=range]"))
    page.keyboard.press("ArrowLeft")
    wait_for_query(page, sparsity="0.79")
    tab_to(page, page.locator(".ratios .layers"))
    page.keyboard.press("Home")
    expect(page.locator(".ratios .note")).to_contain_text("(1 of ")
    tab_to(page, page.get_by_test_id("stExpander").filter(has_text="Take it away").locator("summary"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="JSON")).to_be_visible()
    tab_to(page, page.get_by_role("button", name="JSON"))
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    assert json.loads(Path(waiting.value.path()).read_text())["spec"]["sparsity"] == 0.79


def test_the_page_has_landmarks_and_headings(page: Page, address: str) -> None:
    page.goto(f"{address}/?{TINY}")
    page.wait_for_selector(FIGURE)
    for role in ("main", "banner"):
        expect(page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
    expect(page.get_by_role("region", name="Sidebar")).to_have_count(1)
    expect(page.get_by_role("region", name="Signal scope")).to_have_count(1)
    assert page.get_by_role("heading").count() >= 5
