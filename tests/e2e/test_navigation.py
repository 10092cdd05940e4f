"""Finding things: every page in two clicks, by keys and on a phone; addresses old and wrong; what is seen, by name."""

from __future__ import annotations

from urllib.parse import urlparse

import pytest
from playwright.sync_api import Page, expect

from pages.ui.contents import CONTENTS, FIRST, OLD_PAGES, Entry, pages, views
from tests.e2e.access import AT_REST, SHIFTS, problems
from tests.e2e.test_access import tab_to
from tests.e2e.test_journeys import SMALL, go, open_page, query, wait_for_query
from tests.thorough import THOROUGH

PLACES = [(menu, entry) for menu, entries in CONTENTS.items() for entry in entries]
FEW = ("collapse", "quantisation", "selection_vs_signal", "signal")  # of the old addresses
QUICK = f"{SMALL}&model=vgg-digits"


def stands(page: Page, entry: Entry, address: str) -> None:
    """The page's name above it, in its tab and in its address; why it matters below its name.

    An entry that is a view of the first page stands there, in that view.
    """
    if entry.shows:
        expect(page.get_by_role("radio", name=entry.shows)).to_be_checked()
        wait_for_query(page, **entry.asks)
        entry = pages()[FIRST]
    expect(page.get_by_role("heading", level=1)).to_have_text(entry.title)
    expect(page.locator(".st-key-head")).to_contain_text(entry.why)
    expect(page).to_have_title(f"{entry.title} · Reflow Lab")
    assert urlparse(page.url).path == ("/" if entry.name == FIRST else f"/{entry.name}")


@pytest.mark.parametrize("width", [1280, 390] if THOROUGH else [390])
def test_every_page_is_two_clicks_from_the_first(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{address}/?{QUICK}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    for menu, entry in PLACES[::-1]:  # the first one last, from any other
        go(page, menu, entry.title)
        stands(page, entry, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_page_is_reached_by_keys_alone(page: Page, address: str) -> None:
    page.goto(f"{address}/methods_and_limits")
    expect(page.get_by_role("heading", level=1)).to_have_text("Methods and limits")
    tab_to(page, page.get_by_role("button", name="Compare", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Sweep")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="A/B")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")  # from the first to the last
    expect(page.get_by_role("menuitem", name="Calibration")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Calibration")


def test_a_phones_menus_obey_keys_and_its_sidebar_holds_only_controls(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    open_page(page, f"{address}/?{QUICK}")
    tab_to(page, page.get_by_role("button", name="Reference", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('[role=menu]') !== null")
    page.keyboard.press("End")
    expect(page.get_by_role("menuitem", name="Methods and limits")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Methods and limits")
    expect(page.get_by_role("button", name="Expand sidebar")).to_be_hidden()
    go(page, "Explore", "Overview")
    page.get_by_role("button", name="Expand sidebar").click()
    expect(page.get_by_role("combobox", name="Model")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink").first).to_be_hidden()
    page.get_by_role("button", name="Collapse sidebar").click()
    assert problems(page) == []


def test_a_link_keeps_its_values_from_page_to_page(page: Page, address: str) -> None:
    """Also from the page that it opened, before anything there was touched."""
    values = {"model": "vgg-digits", "sparsity": "0.9", "criterion": "snip", "seed": "3", "evaluation_images": "64"}
    open_page(page, f"{address}/?calibration_images=32&layer=4.1&" + "&".join(f"{k}={v}" for k, v in values.items()))
    go(page, "Explore", "Signal")
    wait_for_query(page, **values, layer="4.1", show="stream")
    expect(page.locator(".scope .percent")).to_have_text("90 %")
    go(page, "Compare", "Sweep")
    wait_for_query(page, model="vgg-digits", seed="3")
    go(page, "Reference", "Methods and limits")
    assert query(page) == {}
    go(page, "Explore", "Overview")
    wait_for_query(page, **values)
    expect(page.locator(".scope .percent")).to_have_text("90 %")


@pytest.mark.parametrize("old", [*OLD_PAGES, *views()] if THOROUGH else FEW)
def test_an_old_address_leads_to_the_page_with_all_that_it_says(page: Page, address: str, old: str) -> None:
    page.goto(f"{address}/{old}?{QUICK}")
    stands(page, (pages() | views())[OLD_PAGES.get(old, old)], address)
    assert query(page)["model"] == "vgg-digits"
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_an_unknown_address_says_so_and_shows_ways_back(page: Page, address: str) -> None:
    page.goto(f"{address}/swepp")
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
    expect(page.get_by_text("There is no page “swepp”.")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("link", name="Go to Sweep").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sweep")
    page.goto(f"{address}/{'%F0%9F%98%80' * 30}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
    page.get_by_role("link", name="Go to Overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_the_line_names_what_is_seen_and_follows_the_controls(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}&sparsity=0.9&repair=none")
    line = page.locator(".st-key-line")
    expect(line).to_contain_text("vgg-digits · 90 % · Magnitude, global · no repair")
    page.locator(".scope input[type=range]").press("ArrowLeft")
    expect(line).to_contain_text("vgg-digits · 89 % · Magnitude, global · no repair")
    go(page, "Compare", "Selection vs repair")
    expect(line).to_contain_text("vgg-digits · 89 %")
    expect(line).not_to_contain_text("Magnitude")


def test_pinning_is_confirmed_and_says_where_both_views_stand(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}")
    page.locator(".st-key-head").get_by_role("button", name="Pin", exact=True).click()
    toast = page.get_by_test_id("stToast")
    expect(toast).to_contain_text("Pinned as A: vgg-digits · 80 % · Magnitude, global · REFLOW.")
    expect(toast).to_contain_text("Compare › A/B")
    expect(page.get_by_role("button", name="Pinned as A")).to_be_visible()
    page.locator(".scope input[type=range]").press("ArrowLeft")
    expect(page.get_by_role("button", name="Pin", exact=True)).to_be_visible()


def test_share_shows_the_address_with_what_the_page_asks_for_itself(page: Page, address: str) -> None:
    page.goto(f"{address}/slices_and_gate?{QUICK}")
    page.get_by_text("Release limits").click()
    drop = page.get_by_role("spinbutton", name="Maximum overall loss (points)")
    drop.fill("3")
    drop.press("Enter")
    wait_for_query(page, drop="3")
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_test_id("stPopoverBody").get_by_test_id("stCode")).to_contain_text(page.url)


def test_demo_mode_is_entered_from_the_head_with_the_view_that_is_seen(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}&sparsity=0.7")
    page.get_by_role("button", name="Demo").click()
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    expect(page.locator(".scope .percent")).to_have_text("70 %")
    expect(page.get_by_test_id("stTopNavSection")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_count(0)


def test_the_first_controls_are_seen_without_scrolling(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}")
    for role, name in (
        ("combobox", "Model"),
        ("spinbutton", "Sparsity (%)"),
        ("combobox", "Criterion"),
        ("combobox", "Repair"),
    ):
        expect(page.get_by_role(role, name=name)).to_be_in_viewport(ratio=1)  # type: ignore[arg-type]


def test_controls_speak_in_words_and_percent_while_the_link_holds_names_and_fractions(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}&criterion=woodfisher&sparsity=0.855")
    sparsity = page.get_by_role("spinbutton", name="Sparsity (%)")
    expect(sparsity).to_have_value("85.5")
    choice = page.get_by_role("combobox", name="Criterion")
    expect(choice).to_have_value("WoodFisher")
    choice.click()
    page.get_by_role("option", name="SNIP", exact=True).click()
    wait_for_query(page, criterion="snip", sparsity="0.855")
    sparsity.fill("80")
    sparsity.press("Enter")
    page.wait_for_function("!location.search.includes('sparsity')")
    expect(page.locator(".st-key-line")).to_contain_text("vgg-digits · 80 % · SNIP, global · REFLOW")
    expect(page.locator(".scope .percent")).to_have_text("80 %")
    page.locator(".scope input[type=range]").press("ArrowRight")
    expect(sparsity).to_have_value("81")
    page.locator(".scope input[type=range]").press("Home")
    expect(sparsity).to_have_value("0")
    expect(page.locator(".scope .badge")).to_have_text("exact")
    page.get_by_role("button", name="Reset all").click()
    expect(choice).to_have_value("Magnitude")
    expect(page.get_by_role("combobox", name="Repair")).to_have_value("REFLOW")
    expect(sparsity).to_have_value("80")


def places(page: Page) -> list[object]:
    """Where the slider, the views and what stands below them are."""
    return [
        page.locator(each).bounding_box() for each in (".scope input[type=range]", ".scope .views", ".st-key-seeds")
    ]


def test_a_view_takes_the_place_of_another_and_nothing_else_moves(page: Page, address: str) -> None:
    """Slider, cards and what stands below: all stay where they are, and the slider is the same element all the time."""
    open_page(page, f"{address}/?{QUICK}")
    page.evaluate(AT_REST)
    before = places(page)
    page.locator(".scope").evaluate("scope => { scope.dataset.same = 'yes'; }")
    page.add_script_tag(content=SHIFTS)
    page.evaluate(AT_REST)
    while_opening = page.evaluate("window.shifted")
    for view in ("stream", "features", "panels"):
        page.get_by_role("radio", name=view).click()
        expect(page.locator(".scope")).to_have_attribute("data-views", view)
        expect(page.locator(f".scope .{view}")).to_be_visible()
        page.evaluate(AT_REST)
        assert places(page) == before
    expect(page.locator(".scope")).to_have_attribute("data-same", "yes")
    assert page.evaluate("window.shifted") == while_opening


def test_a_document_opens_over_the_page_and_closes_by_escape(page: Page, address: str) -> None:
    open_page(page, f"{address}/?{QUICK}")
    page.locator(".st-key-head").get_by_role("button", name="Docs").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("A tour")
    expect(dialog.get_by_role("heading").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(".scope .badge")).to_have_text("exact")
