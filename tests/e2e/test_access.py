"""For everybody: axe finds nothing serious on any page in either theme, and nothing scrolls sideways."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, TimeoutError, expect

from tests.e2e.browser import ROOT

TINY = "evaluation_images=32&calibration_images=16&model=vgg-digits"
FIGURE = ".js-plotly-plot .main-svg"
READY = {
    "story": ".told",
    "report": "[data-testid=stFileUploader]",
    "about": "[data-testid=stDataFrame]",
    "compare": "[data-testid=stAlert]",
    "signal": ".choice button",
    "demo": ".choice button",
}
PATHS = [file.stem for file in sorted((ROOT / "pages").glob("[a-z]*.py"))] + ["demo"]
AT_REST = """() => new Promise((done) => {  // what waits for new values is dimmed, which no one should judge
  let calm = 0;
  const look = () => {
    const app = document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning";
    calm = app && !document.querySelector("[data-stale=true]") ? calm + 1 : 0;
    calm > 6 ? done() : setTimeout(look, 100);
  };
  look();
})"""
SERIOUS = ("serious", "critical")
EVERY_RULE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # all that a theme changes
BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 23, 29)"}


def violations(page: Page, scheme: str, rules: dict[str, object]) -> list[str]:
    """Serious ones, each with the element that it is about."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    expect(page.locator(".stApp")).to_have_css("background-color", BACKGROUND[scheme])
    return [
        f"{scheme}: {each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for each in Axe().run(page, options=rules).response["violations"]
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("name", PATHS)
def test_every_page_is_for_everybody_in_both_themes_and_widths(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}/{ {'collapse': '?', 'demo': '?demo=1&'}.get(name, f'{name}?') }{TINY}")
    page.wait_for_selector(READY.get(name, FIGURE))
    with suppress(TimeoutError):  # a study that is done meanwhile has nothing to pause
        page.get_by_role("button", name="Pause", exact=True).first.click(timeout=1_500)
    page.evaluate(AT_REST)
    told = violations(page, "light", EVERY_RULE) + violations(page, "dark", COLOURS)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_function(f"window.innerWidth === {width}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{width} px"
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert told == []


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
