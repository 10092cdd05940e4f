"""What is seen: nothing covers, cuts or pushes anything else, at a laptop's width and a phone's."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pages.ui.contents import FIRST, pages
from tests.e2e.access import AT_REST, SHIFTS
from tests.e2e.test_journeys import SMALL, open_page
from tests.thorough import THOROUGH

QUICK = f"{SMALL}&model=vgg-digits"
FEW = ("overview", "lesson", "sweep", "structured_pruning")  # of all kinds
PHONE = {"width": 390, "height": 800}
OVERLAPS = """([first, second]) => {  // pairs of elements that overlap
  const boxes = (selector) => [...document.querySelectorAll(selector)].map((each) => each.getBoundingClientRect());
  return boxes(first).flatMap((a) => boxes(second).filter((b) => a.width && b.width && (a.x !== b.x || a.y !== b.y)
    && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
}"""


@pytest.mark.parametrize("name", pages() if THOROUGH else FEW)
def test_nothing_jumps_while_a_page_opens_or_a_control_changes(page: Page, address: str, name: str) -> None:
    """Cumulative layout shift; under 0.1 counts as good (web.dev/cls)."""
    page.add_init_script(SHIFTS)
    page.goto(f"{address}/{'' if name == FIRST else name}?{QUICK}")
    expect(page.get_by_role("heading", level=1)).to_have_text(pages()[name].title)
    page.evaluate(AT_REST)
    assert page.evaluate("window.shifted") <= 0.1, "at load"
    images = page.get_by_role("spinbutton", name="Evaluation images")
    if images.count():
        page.evaluate("window.shifted = 0")
        images.fill("48")
        images.press("Enter")
        page.wait_for_url("**evaluation_images=48**")
        page.evaluate(AT_REST)
        assert page.evaluate("window.shifted") <= 0.1, "on a control change"


def test_a_phone_shows_all_steps_of_the_lesson(page: Page, address: str) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(f"{address}/lesson?{QUICK}")
    steps = page.get_by_role("radiogroup", name="Step").get_by_role("radio")
    expect(steps).to_have_count(11)
    page.evaluate(AT_REST)
    for step in steps.all():
        box = step.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]


@pytest.mark.parametrize("name", ["ab", "structured_pruning"])
def test_a_phones_charts_are_covered_by_nothing(page: Page, address: str, name: str) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(f"{address}/{name}?{QUICK}&a=repair%3Dnone%26{SMALL.replace('=', '%3D').replace('&', '%26')}")
    expect(page.locator(".js-plotly-plot .x2title").last).to_be_attached()
    page.evaluate(AT_REST)
    first = page.locator(".modebar-btn").first
    first.scroll_into_view_if_needed()
    assert first.evaluate("""(it) => { const {x, y} = it.getBoundingClientRect();
      return document.elementFromPoint(x + 5, y + 5).closest(".modebar") !== null; }"""), "seen and hit"
    tools = ".js-plotly-plot .modebar"
    for others in (".gtitle", ".legendtext", ".nsewdrag", ".xtitle", ".x2title"):
        assert page.evaluate(OVERLAPS, [tools, f".js-plotly-plot {others}"]) == 0, others
    assert page.evaluate(OVERLAPS, [".js-plotly-plot .xtitle", ".js-plotly-plot .x2title"]) == 0


def test_a_percentage_stays_on_one_line_and_the_dark_logo_is_its_own(page: Page, address: str) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="dark")
    open_page(page, f"{address}/?{QUICK}&sparsity=0.7692")
    reading = page.locator(".scope .percent")
    expect(reading).to_have_text("76.92 %")
    assert reading.evaluate("(it) => it.getClientRects().length === 1 && it.offsetHeight < 1.5 * parseFloat("
                            "getComputedStyle(it).lineHeight)")  # fmt: skip
    logo = page.get_by_test_id("stHeaderLogo").or_(page.get_by_test_id("stSidebarLogo")).first
    dark = logo.get_attribute("src")
    page.emulate_media(color_scheme="light")
    page.reload()
    expect(reading).to_have_text("76.92 %")
    assert (logo.get_attribute("src") == dark) is False


def test_a_reopened_reports_ticks_stand_below_its_track(page: Page, address: str, tmp_path: Path) -> None:
    open_page(page, f"{address}/?{QUICK}")
    page.get_by_text("Export and share").first.click()
    page.evaluate(AT_REST)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Report").first.click()
    waiting.value.save_as(tmp_path / "report.html")
    page.goto(f"{address}/open_a_report")
    expect(page.locator("input[type=file]")).to_be_attached()
    page.evaluate(AT_REST)
    page.locator("input[type=file]").set_input_files(tmp_path / "report.html")
    expect(page.locator(".scope .badge")).to_have_text("exact")
    track, tick = (
        page.locator(".scope input[type=range]").bounding_box(),
        page.locator(".scale span").last.bounding_box(),
    )
    assert track is not None and tick is not None
    assert abs(tick["x"] + tick["width"] / 2 - (track["x"] + track["width"] - 11)) < 3, "99 % under the track's end"
