"""Back and Forward: every change of a control, every click on a cell and every other page is one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.access import AT_REST
from tests.e2e.test_journeys import SLIDER, SMALL, click_a_cell, computed, go, open_page, wait_for_query
from tests.thorough import THOROUGH, thorough

QUICK = f"{SMALL}&model=vgg-digits"
PARTS = (".headline", ".percent", ".big", ".note:visible")
BOXES = ("Criterion", "Repair", "Layer")


def chosen(label: str, option: str) -> Callable[[Page], None]:
    """Choose an option of a control."""

    def change(page: Page) -> None:
        box = page.get_by_role("combobox", name=label, exact=True)
        box.scroll_into_view_if_needed()
        page.evaluate(AT_REST)  # a list that is open closes where its page scrolls
        box.press("ArrowDown")
        page.get_by_role("option", name=option, exact=True).click()

    return change


def typed(label: str, number: str) -> Callable[[Page], None]:
    """Type a number into a control."""

    def change(page: Page) -> None:
        box = page.get_by_role("spinbutton", name=label, exact=True)
        box.fill(number)
        box.press("Enter")

    return change


def dragged(page: Page) -> None:
    """Drag the slider far, through many values, and release it once."""
    slider = page.locator(SLIDER)
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.8 * box["width"], y)
    page.mouse.down()
    for step in range(12):
        page.mouse.move(box["x"] + (0.8 - 0.02 * step) * box["width"], y)
    page.mouse.up()


def first_layer(page: Page) -> None:
    """Click the first layer where the variance ratios stand."""
    plot = page.locator(".ratios .plot")
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": 44, "y": 60})


def folded(page: Page) -> None:
    """Open a fold, and choose something there."""
    page.get_by_text("Allocation, update, pattern").click()
    chosen("Allocation", "Uniform")(page)


def viewed(view: str) -> Callable[[Page], None]:
    """Choose a view."""
    return lambda page: page.get_by_role("radio", name=view).click()


CHANGES: dict[str, Callable[[Page], None]] = {
    "the slider is dragged": dragged,
    "a key moves the slider": lambda page: page.locator(SLIDER).press("ArrowLeft"),
    "the sparsity is typed": typed("Sparsity (%)", "90"),
    "a click on a layer": first_layer,
    "the criterion": chosen("Criterion", "SNIP"),
    "the repair": chosen("Repair", "Statistics correction"),
    "the calibration images": typed("Calibration images", "48"),
    "a folded control": folded,
    "another in that fold, which stays open": chosen("Kept dense", "first"),
    "the view": viewed("stream"),
    "the image": lambda page: page.get_by_role("button", name="Image 3").click(),
    "a control below": viewed("cosine"),
    "the layer's own control": chosen("Layer", "auto"),
    "all at once": lambda page: page.get_by_role("button", name="Reset all").click(),
}
FEW = ("the slider is dragged", "a click on a layer", "the criterion", "a folded control", "the view", "all at once")


def at_rest(page: Page) -> None:
    """Wait until the page shows what its address says, with the mouse away from it."""
    page.mouse.move(5, 5)
    expect(page.locator(".scope .badge")).to_have_text("exact")
    page.evaluate(AT_REST)
    expect(page.locator(".scope .badge")).to_have_text("exact")


def seen(page: Page) -> dict[str, Any]:
    """What a person sees: the address, the verdict, the slider, the numbers, and what the controls say."""
    boxes = {name: page.get_by_role("combobox", name=name, exact=True).input_value() for name in BOXES}
    numbers = {each.get_attribute("aria-label"): each.input_value() for each in page.get_by_role("spinbutton").all()}
    scope = {each: page.locator(f".scope {each}").all_inner_texts() for each in PARTS}
    return {
        "address": page.url,
        "slider": page.locator(SLIDER).input_value(),
        "checked": [each.inner_text() for each in page.get_by_role("radio", checked=True).all()],
        **scope, **boxes, **numbers,
    }  # fmt: skip


def length(page: Page) -> int:
    return int(page.evaluate("history.length"))


def test_every_change_of_a_control_is_one_step(page: Page, address: str) -> None:
    """Back shows all that was there before it, Forward all that was there after it."""
    open_page(page, f"{address}/?{QUICK}")
    at_rest(page)
    steps, before = {}, seen(page)
    changes = CHANGES if THOROUGH else {name: CHANGES[name] for name in FEW}
    for name, change in changes.items():
        steps_before = length(page)
        change(page)
        page.wait_for_function("was => location.href !== was", arg=before["address"])
        at_rest(page)
        after = seen(page)
        steps[name] = length(page) - steps_before
        if steps[name] == 1:
            page.go_back()
            at_rest(page)
            assert seen(page) == before, f"Back after: {name}"
            page.go_forward()
            at_rest(page)
            assert seen(page) == after, f"Forward after: {name}"
        before = after
    assert steps == dict.fromkeys(changes, 1)


@pytest.mark.parametrize("change", [first_layer, dragged] if THOROUGH else [first_layer])
def test_what_was_taken_back_can_be_done_again(page: Page, address: str, change: Callable[[Page], None]) -> None:
    open_page(page, f"{address}/?{QUICK}")
    at_rest(page)
    before = seen(page)
    change(page)
    page.wait_for_function("was => location.href !== was", arg=before["address"])
    at_rest(page)
    after = seen(page)
    page.go_back()
    at_rest(page)
    assert seen(page) == before
    change(page)
    page.wait_for_function("was => location.href !== was", arg=before["address"])
    at_rest(page)
    assert seen(page) == after


@thorough
def test_back_while_the_result_is_computed_shows_what_was_there(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}")
    at_rest(page)
    before = seen(page)
    page.locator(SLIDER).press("ArrowLeft")
    page.wait_for_function("was => location.href !== was", arg=before["address"])
    page.go_back()
    at_rest(page)
    assert seen(page) == before


def test_another_page_is_one_step_and_back_shows_the_one_before_as_it_was(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}&sparsity=0.7&repair=statcorr")
    at_rest(page)
    before, steps = seen(page), length(page)
    go(page, "Compare", "A/B")
    page.evaluate(AT_REST)
    assert length(page) == steps + 1
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    at_rest(page)
    assert seen(page) == before
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text("A/B")
    page.evaluate(AT_REST)
    go(page, "Explore", "Signal")
    at_rest(page)
    wait_for_query(page, show="stream", sparsity="0.7")
    assert length(page) == steps + 2, "the address that leads there is no step of its own"
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("A/B")


@thorough
def test_a_key_of_the_demo_mode_is_one_step_and_so_is_leaving_it(page: Page, address: str) -> None:
    open_page(page, f"{address}/?demo=1&{QUICK}")
    at_rest(page)
    steps = length(page)
    page.keyboard.press("3")
    wait_for_query(page, preset="3")
    at_rest(page)
    shown = page.locator(".scope .percent").inner_text()
    page.keyboard.press("1")
    wait_for_query(page, preset="1")
    at_rest(page)
    assert length(page) == steps + 2
    page.go_back()
    at_rest(page)
    wait_for_query(page, preset="3")
    expect(page.locator(".scope .percent")).to_have_text(shown)
    expect(page.locator(".presets [aria-pressed=true]")).to_have_attribute("data-preset", "3")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("stSidebar")).to_be_visible()
    at_rest(page)
    assert length(page) == steps + 2, "one step in place of the one that was taken back"


def test_a_click_on_a_cell_is_one_step_and_back_shows_the_cells(page: Page, address: str) -> None:
    page.goto(f"{address}/sweep?{QUICK}&criteria=magnitude&repairs=reflow&updates=none&measure=CKA")
    computed(page)
    steps, sweep = length(page), page.url
    click_a_cell(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    at_rest(page)
    opened = seen(page)
    assert length(page) == steps + 1
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sweep")
    computed(page)
    assert page.url == sweep
    expect(page.get_by_role("radio", name="CKA")).to_be_checked()
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    at_rest(page)
    assert seen(page) == opened


@thorough
def test_a_step_of_the_lesson_and_a_prediction_are_one_step_each(page: Page, address: str) -> None:
    page.goto(f"{address}/lesson?{QUICK}")
    expect(page.get_by_role("heading", level=2)).to_contain_text("1. ")
    page.evaluate(AT_REST)
    steps, address_of = length(page), [page.url]
    for label in ("Show what happens", "Next", "Show what happens"):
        page.get_by_role("button", name=label, exact=True).click()
        page.wait_for_function("was => location.href !== was", arg=address_of[-1])
        page.evaluate(AT_REST)
        address_of.append(page.url)
    assert length(page) == steps + 3
    for number, was in zip((2, 1, 1), address_of[-2::-1], strict=True):
        page.go_back()
        expect(page.get_by_role("heading", level=2)).to_contain_text(f"{number}. ")
        page.evaluate(AT_REST)
        assert page.url == was
    expect(page.get_by_role("button", name="Show what happens")).to_be_visible()


@thorough
def test_changes_made_while_the_result_is_computed_are_one_step_each(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}&allocation=uniform")
    at_rest(page)
    steps = length(page)
    page.locator(SLIDER).press("ArrowLeft")
    wait_for_query(page, sparsity="0.79")
    first = page.url
    typed("Calibration images", "48")(page)
    wait_for_query(page, calibration_images="48")
    viewed("stream")(page)
    wait_for_query(page, show="stream", calibration_images="48", sparsity="0.79")
    at_rest(page)
    assert length(page) == steps + 3
    page.go_back()
    page.go_back()
    at_rest(page)
    assert page.url == first
    expect(page.locator(".scope .percent")).to_have_text("79 %")
    expect(page.get_by_role("radio", name="panels")).to_be_checked()
