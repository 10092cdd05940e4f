"""What a person does, in a real browser against the real server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from playwright.sync_api import BrowserContext, Page, expect

from reflow_core.images.digits import digits
from tests.e2e.browser import ROOT

SMALL = "evaluation_images=64&calibration_images=32"
TINY = "evaluation_images=32&calibration_images=16"  # so that a whole sweep is computed within a test
SLIDER = ".scope input[type=range]"


def open_page(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".scope .badge")).to_have_text("exact")
    expect(page.locator(".scope .card .big").first).to_be_visible()


def go(page: Page, menu: str, title: str) -> None:
    """Two clicks: a menu, and a page in it."""
    page.get_by_role("button", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=title, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview" if title == "Signal" else title)


def whole_sweep(page: Page) -> None:
    """Ask for the sweep around the view, and wait for it."""
    begin, complete = page.get_by_role("button", name="Resume"), page.get_by_text("All 100 sparsities are computed")
    expect(begin.or_(complete)).to_be_visible()
    if begin.count():
        begin.click()
    expect(complete).to_be_visible(timeout=120_000)


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def wait_for_query(page: Page, **wanted: str) -> None:
    for name, value in wanted.items():
        page.wait_for_url(re.compile(rf"[?&]{name}={re.escape(value)}(&|$)"))


def test_the_first_screen_tells_the_story_without_a_click(
    shared: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    open_page(shared, address)
    expect(shared.locator(".scope .status")).to_have_text("recovered")
    dense, pruned, repaired = (float(text.split()[0]) for text in shared.locator(".card .big").all_inner_texts())
    assert dense >= 99 and pruned <= 20 and repaired >= 93
    expect(shared.locator(".js-plotly-plot").first).to_be_visible()
    expect(shared.locator(".strip img").first).to_be_visible()
    for_everybody(shared)


def at_home(page: Page, address: str) -> None:
    """Have the first screen's scope on the page, opened if no test has done so."""
    if not page.url.startswith(address):
        open_page(page, address)


def test_clicking_a_layer_drives_every_panel_and_the_link(shared: Page, address: str) -> None:
    at_home(shared, address)
    plot = shared.locator(".ratios .plot")
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": 44 + (box["width"] - 44) * 0.5 / 19, "y": 60})
    wait_for_query(shared, layer="bn1")
    expect(shared.locator(".ratios .note")).to_contain_text("bn1 (1 of 19)")
    expect(shared.get_by_text(re.compile(r"^bn1 keeps"))).to_be_visible()


def test_releasing_the_slider_computes_and_the_link_opens_the_same_view(
    shared: Page, address: str, other: BrowserContext
) -> None:
    at_home(shared, address)
    shared.locator(SLIDER).focus()
    for _ in range(5):
        shared.keyboard.press("ArrowRight")
    wait_for_query(shared, sparsity="0.85")
    expect(shared.locator(".scope .percent")).to_have_text("85 %")
    expect(shared.locator(".scope .badge")).to_have_text("exact")
    expect(shared.locator(".scope")).to_have_attribute("data-shown", "0.85")
    shown = shared.locator(".card .big").all_inner_texts()
    fresh = other.new_page()
    open_page(fresh, shared.url)
    expect(fresh.locator(".scope .percent")).to_have_text("85 %")
    assert fresh.locator(".card .big").all_inner_texts() == shown
    fresh.close()


def test_a_network_is_chosen_from_the_list(shared: Page, address: str) -> None:
    at_home(shared, address)
    shared.get_by_role("button", name="Browse networks").click()
    second_row = {"x": 17, "y": 88}
    shared.get_by_role("dialog").locator(".dvn-scroller").click(position=second_row)  # type: ignore[arg-type]
    expect(shared.get_by_role("dialog")).to_have_count(0)
    expect(shared).to_have_url(re.compile("model=mobilenet-digits"))
    expect(shared.get_by_text("MobileNet on digits")).to_be_visible()


def test_a_network_without_batchnorm_says_why_reflow_does_not_apply(page: Page, address: str) -> None:
    open_page(page, f"{address}/?model=convnext-digits&{SMALL}")
    expect(page.locator(".card").last).to_contain_text("no BatchNorm")
    for panel in (".ratios", ".answers"):
        expect(page.locator(f"{panel} svg")).to_contain_text("pruned")
        expect(page.locator(panel)).not_to_contain_text("Repaired")


def test_scrubbing_draws_every_panel_while_dragging_without_the_server(page: Page, address: str) -> None:
    """On a small evaluation set, so that the whole sweep is computed within the test."""
    open_page(page, f"{address}/?{TINY}")
    whole_sweep(page)
    slider, scope = page.locator(SLIDER), page.locator(".scope")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    at = lambda share: box["x"] + 11 + (box["width"] - 22) * share / 0.99  # noqa: E731
    page.mouse.move(at(0.8), y)
    page.mouse.down()
    seen = set()
    for step in range(40):
        page.mouse.move(at(0.8 - 0.01 * step), y)
        seen.add(scope.get_attribute("data-shown"))
    assert len(seen) >= 35, "the panels did not follow the drag"
    expect(page.locator(".scope .badge")).to_have_text("from the sweep")
    assert "sparsity" not in query(page), "nothing is reported before the release"
    page.mouse.up()
    page.wait_for_url(re.compile("sparsity=0\\.4"))
    expect(page.locator(".scope .badge")).to_have_text("exact")


def test_demo_presets_follow_the_keys_hide_the_repair_until_its_own_and_escape_leaves(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    open_page(page, f"{address}/?demo=1&{SMALL}")
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    scope = page.locator(".scope")
    for key, status, repaired in (("1", "healthy", False), ("3", "collapsed", False), ("4", "recovered", True)):
        page.keyboard.press(key)
        expect(scope.locator(".status")).to_have_text(status)
        wait_for_query(page, preset=key)
        expect(scope.locator(".curve polyline")).to_have_count(3 if repaired else 2)
        expect(scope.locator(".card.repaired .big")).to_have_text(re.compile("%") if repaired else "?")
        told = [scope.locator(place).first.inner_text() for place in (".headline", ".stream .note", ".features .note")]
        assert repaired or not any("REFLOW" in text for text in told), told
    page.keyboard.press("5")
    expect(scope.locator(".percent")).to_have_text("95 %")
    wait_for_query(page, preset="5")
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.wait_for_function("window.innerWidth === 1920")
    fits = "document.querySelector('[data-testid=stMain]').scrollHeight <= window.innerHeight"
    page.wait_for_function(fits, timeout=10_000)
    page.set_viewport_size({"width": 1280, "height": 800})
    for_everybody(page)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("stSidebar")).to_be_visible()


def test_nonsense_in_the_link_is_named_and_the_page_still_works(page: Page, address: str) -> None:
    open_page(
        page,
        f"{address}/?sparsity=7&model=resnet19-digits&seed=abc&layer=nowhere&step=x&allocation=globl&data=imagenet&{SMALL}",
    )
    alerts = page.get_by_test_id("stAlert")
    expect(alerts.filter(has_text="sparsity=7")).to_be_visible()
    expect(alerts.filter(has_text="resnet19-digits")).to_be_visible()
    expect(alerts.filter(has_text="seed='abc'")).to_be_visible()
    expect(alerts.filter(has_text="did you mean 'global'?")).to_be_visible()
    expect(alerts.filter(has_text="Unknown data 'imagenet'")).to_be_visible()
    expect(page.locator(".scope .percent")).to_have_text("80 %")


def test_a_link_alone_starts_no_download(page: Page, address: str) -> None:
    page.goto(f"{address}/?model=resnet20-cifar10")
    expect(page.get_by_role("heading", name=re.compile("is not on this machine yet"))).to_be_visible()
    expect(page.get_by_role("button", name="Download now")).to_be_visible()


def computed(page: Page) -> None:
    expect(page.get_by_text(re.compile(r"^All \d+ diagnoses are computed"))).to_be_visible(timeout=90_000)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def test_a_cold_link_with_several_arms_opens_the_board_and_the_shares_add_up(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    variants = "criteria=magnitude&criteria=snip&updates=none&repairs=none&repairs=reflow&repairs=statcorr"
    page.goto(f"{address}/selection_vs_repair?{SMALL}&{variants}")
    computed(page)
    expect(page.get_by_test_id("stMetricValue")).to_have_count(3)
    shares = [int(text.split()[0]) for text in page.get_by_test_id("stMetricValue").all_inner_texts()]
    assert len(shares) == 3 and abs(sum(shares) - 100) <= 1 and shares[1] > shares[0]
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    assert parse_qs(urlparse(page.url).query)["criteria"] == ["magnitude", "snip"]
    for_everybody(page)


def click_a_cell(page: Page) -> None:
    """A layer at a sparsity, below the curves of the sweep."""
    cells = page.locator('.nsewdrag[data-subplot="xy2"]')
    expect(cells).to_be_visible()
    box = cells.bounding_box()
    assert box is not None
    place: Any = {"x": 0.7 * box["width"], "y": 0.5 * box["height"]}
    cells.hover(position=place)
    expect(page.locator(".hoverlayer .hovertext").first).to_be_visible()
    cells.click(position=place)


def test_a_click_on_a_cell_of_the_sweep_opens_it_on_the_overview(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    page.goto(f"{address}/sweep?{SMALL}&criteria=magnitude&repairs=reflow")
    computed(page)
    for_everybody(page)
    click_a_cell(page)
    expect(page.locator(".scope .badge")).to_have_text("exact")
    opened = query(page)
    assert 0.5 <= float(opened["sparsity"]) <= 0.8 and opened["layer"].startswith("layer")
    expect(page.locator(".ratios .note")).to_contain_text(opened["layer"])


def test_calibration_says_how_many_images_are_enough(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    page.goto(f"{address}/calibration?model=vgg-digits&evaluation_images=64&repeats=1&compare=class+skew")
    computed(page)
    expect(page.get_by_text("Images needed to come within one point of the best")).to_be_visible()
    for_everybody(page)


def test_weights_and_pictures_of_ones_own_are_diagnosed_and_are_nobody_elses(
    page: Page, address: str, other: BrowserContext, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "assets" / "networks" / "resnet20-digits.safetensors", tmp_path / "mine.safetensors")
    images = digits()
    for part, some in (("train", images.train), ("test", images.test)):
        for number in range(60):
            folder = tmp_path / "digits" / part / images.classes[int(some.labels[number])]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.png").write_bytes(some.png(number))
    shutil.make_archive(str(tmp_path / "digits"), "zip", tmp_path, "digits")
    open_page(page, f"{address}/?sparsity=0.5&{SMALL}")
    page.get_by_text("Data, your own files").click()
    inputs = page.locator("[data-testid=stFileUploader] input[type=file]")
    inputs.nth(0).set_input_files(tmp_path / "mine.safetensors")
    expect(page.get_by_text("mine.safetensors")).to_be_visible()  # a person sees the first arrive, then brings the next
    inputs.nth(1).set_input_files(tmp_path / "digits.zip")
    expect(page.locator(".scope .card").first).to_contain_text("n = 60", timeout=60_000)
    dense = float(page.locator(".card .big").first.inner_text().split()[0])
    assert dense >= 95
    fresh = other.new_page()
    open_page(fresh, page.url)
    expect(fresh.locator(".scope .card").first).not_to_contain_text("n = 60")
    fresh.close()
