"""Teach it, demo it, take it away: the lesson, the drawn signal, the report, the network in a file."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from reflow_core.networks.catalog import find
from reflow_core.present.lesson import STEPS
from tests.e2e.test_journeys import SLIDER, SMALL, TINY, go, open_page, query, wait_for_query, whole_sweep

UNPREDICTED = 3  # the step that is shown without a prediction
AT_REST = """(scope) => new Promise((done) => {
  const now = () => scope.dataset.painted;
  const look = (painted) => setTimeout(() => (now() === painted ? done() : look(now())), 200);
  look(now());
})"""
SAID = re.compile(r"you predicted ([\d.]+) .+, measured ([\d.]+) ")


def test_the_lesson_from_the_first_step_to_the_last(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    down = find("vgg-digits").collapse_at
    page.goto(f"{address}/lesson?{SMALL}&model=vgg-digits")
    for number, step in enumerate(STEPS, 1):
        expect(page.get_by_role("heading", name=f"{number}. {step.title}")).to_be_visible(timeout=60_000)
        expect(page.locator(".told").first).to_be_visible()
        expect(page.locator(".scope")).to_have_count(0)  # nothing is shown before the prediction
        said = page.get_by_test_id("stAlert").filter(has_text="you predicted")
        if number != UNPREDICTED:
            page.get_by_test_id("stMain").get_by_role("spinbutton").fill("3")
        page.get_by_role("button", name="Show what happens").click()
        expect(page.locator(".scope .badge")).to_have_text("exact", timeout=60_000)
        if number == UNPREDICTED:
            expect(said).to_have_count(0)
        else:
            expect(said).to_be_visible(timeout=60_000)
            found = SAID.search(said.inner_text())
            assert found and float(query(page)["guess"]) == float(found[1]) == 3
        if number == 4:
            note = page.locator(".answers .plot")
            expect(note).to_have_attribute("aria-label", re.compile("pruned: .* effective classes"))
        assert number == 1 or query(page)["step"] == str(number)
        assert page.locator(".scope .percent").inner_text() == f"{100 * step.changes(down)['sparsity']:g} %"  # type: ignore[operator]
        if number < len(STEPS):
            page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    expect(page.get_by_text(f"You predicted {len(STEPS) - 1} of the {len(STEPS)} steps, ")).to_be_visible()
    expect(page.get_by_role("link", name="Explore it yourself on the Overview")).to_be_visible()
    for_everybody(page)


def test_a_teacher_hides_the_controls_shares_the_link_and_prints(
    page: Page, address: str, other: BrowserContext, tmp_path: Path
) -> None:
    page.goto(f"{address}/lesson?{SMALL}&step=2&guess=40&model=vgg-digits")
    page.get_by_text("For the teacher").click()
    page.get_by_text("Hide the controls").click()
    wait_for_query(page, hide="true")
    expect(page.locator(".st-key-controls")).to_be_hidden()
    fresh = other.new_page()
    fresh.goto(page.url)
    expect(fresh.get_by_role("heading", name="2. Remove half of the weights")).to_be_visible(timeout=45_000)
    expect(fresh.get_by_text("you predicted 40 %")).to_be_visible(timeout=45_000)
    expect(fresh.locator(".st-key-controls")).to_be_hidden()
    shared_link = page.get_by_test_id("stCode").filter(has_text="/lesson?").inner_text().replace("\u2060", "").strip()
    assert "guess" not in shared_link and "hide=true" in shared_link and "step=2" in shared_link
    fresh.goto(shared_link)
    expect(fresh.get_by_role("button", name="Show what happens")).to_be_visible(timeout=45_000)
    expect(fresh.get_by_text("you predicted")).to_have_count(0)
    fresh.close()
    page.get_by_role("button", name="Make the handout with answers").click()
    with page.expect_download(timeout=90_000) as waiting:
        page.get_by_role("button", name="Save the handout with answers").click(timeout=90_000)
    text = Path(waiting.value.path()).read_text()
    assert "Answers and notes" in text and text.count("<math") == len(STEPS)


def saved(page: Page, panel: str, kind: str) -> bytes:
    """What the button of a panel of the scope saves."""
    with page.expect_download() as waiting:
        page.locator(f".{panel} [data-save={kind}]").click()
    assert re.fullmatch(rf"[\w.-]+-magnitude-[\d.]+pct-reflow-{panel}\.{kind}", waiting.value.suggested_filename)
    return Path(waiting.value.path()).read_bytes()


def panels_are_saved(page: Page, panels: dict[str, tuple[str, int]]) -> None:
    """As PNG and SVG, each with at least so many of an element."""
    for panel, (element, least) in panels.items():
        expect(page.locator(f".{panel} .note")).not_to_be_empty()
        svg = ElementTree.fromstring(saved(page, panel, "svg").decode())
        assert len(list(svg.iter(f"{{http://www.w3.org/2000/svg}}{element}"))) >= least
        assert "var(" not in ElementTree.tostring(svg, "unicode"), "a color that only the page knows"
        picture = Image.open(io.BytesIO(saved(page, panel, "png")))
        assert picture.size == (round(2 * float(svg.attrib["width"])), round(2 * float(svg.attrib["height"])))
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 20


CAMERA_SAVES = """kind => {
  const figure = document.querySelector(".js-plotly-plot");
  return figure && figure._context && figure._context.toImageButtonOptions.format === kind;
}"""


def cameras_save(page: Page) -> None:
    """What was chosen, from the camera on a figure."""
    for kind in ("png", "svg"):
        page.get_by_role("radio", name=kind).click()
        expect(page.get_by_role("radio", name=kind)).to_be_checked()
        page.wait_for_function(CAMERA_SAVES, arg=kind)
        figure = page.locator(".js-plotly-plot").first
        figure.hover()
        with page.expect_download() as waiting:
            figure.locator('[data-title^="Download plot"]').click()
        assert waiting.value.suggested_filename.endswith(kind)


def test_the_signal_follows_the_slider_and_the_image_without_the_server_and_its_panels_are_saved(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    open_page(page, f"{address}/signal?{TINY}")
    whole_sweep(page)
    wait_for_query(page, show="stream")
    expect(page.locator(".scope")).to_have_attribute("data-portraits", "20")
    slider, scope = page.locator(SLIDER), page.locator(".scope")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    y, seen, told = box["y"] + box["height"] / 2, set(), set()
    page.mouse.move(box["x"] + 0.3 * box["width"], y)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + (0.3 + 0.02 * step) * box["width"], y)
        seen.add(scope.get_attribute("data-shown"))
        told.add(page.locator(".stream .note").inner_text())
    assert len(seen) >= 28 and len(told) >= 10, "the picture did not follow the drag"
    assert "sparsity" not in query(page)
    page.mouse.up()
    expect(page.locator(".scope .badge")).to_have_text("exact")
    page.get_by_role("button", name=re.compile("^Image 3")).click()
    wait_for_query(page, image="3")
    expect(page.get_by_role("button", name=re.compile("^Image 3"))).to_have_attribute("aria-pressed", "true")
    page.locator(".stream .layers").focus()
    page.keyboard.press("Home")
    wait_for_query(page, layer="bn1")
    panels_are_saved(page, {"stream": ("image", 30)})
    page.get_by_role("radio", name="features").click()
    wait_for_query(page, show="features")
    panels_are_saved(page, {"features": ("path", 30)})
    for_everybody(page)


def test_reduced_motion_is_respected(page: Page, address: str) -> None:
    """Without motion one frame shows what otherwise takes many."""
    open_page(page, f"{address}/?{TINY}&show=stream&sparsity=0.3")
    whole_sweep(page)
    scope, painted = page.locator(".scope"), {}
    for motion, percent in (("reduce", 90), ("no-preference", 30)):
        page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
        scope.evaluate(AT_REST)
        before = int(scope.get_attribute("data-painted") or 0)
        page.locator(SLIDER).evaluate(
            "(slider, percent) => { slider.value = percent; slider.dispatchEvent(new Event('input')); }", percent
        )
        scope.evaluate(AT_REST)
        painted[motion] = int(scope.get_attribute("data-painted") or 0) - before
    assert painted["reduce"] <= 3 < painted["no-preference"]


def test_the_report_opens_offline_draws_saves_pictures_and_opens_again_where_no_other_file_does(
    page: Page,
    address: str,
    other: BrowserContext,
    tmp_path: Path,
    for_everybody: Callable[[Page], None],
    request: pytest.FixtureRequest,
) -> None:
    open_page(page, f"{address}/?{SMALL}&sparsity=0.85")
    cards = page.locator(".card .big").all_inner_texts()
    page.get_by_text("Export and share").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Report").click()
    file = tmp_path / "report.html"
    waiting.value.save_as(file)
    other.set_offline(True)
    request.addfinalizer(lambda: other.set_offline(False))
    offline = other.new_page()
    offline.goto(file.as_uri())
    offline.wait_for_selector("html[data-drawn=yes]")
    expect(offline.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    assert [text.replace("\u202f", " ") for text in offline.locator(".number strong").all_inner_texts()] == [
        text.replace("\u202f", " ") for text in cards
    ]
    for kind, magic in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        with offline.expect_download() as picture:
            offline.get_by_role("button", name=kind).nth(1).click()
        assert Path(picture.value.path()).read_bytes().startswith(magic)
    offline.close()
    page.goto(f"{address}/open_a_report")
    (tmp_path / "other.html").write_text("<html><script>alert(1)</script></html>")
    given = page.locator("[data-testid=stMain] input[type=file]")
    given.set_input_files(tmp_path / "other.html")
    expect(
        page.get_by_test_id("stAlert").filter(has_text="'other.html' is not a report that can be reopened")
    ).to_be_visible()
    given.set_input_files(file)
    expect(page.locator(".card .big").first).to_be_visible()
    assert page.locator(".card .big").all_inner_texts() == cards
    expect(page.locator(".st-key-line")).to_contain_text("resnet20-digits · 85 % · Magnitude, global · REFLOW")
    for_everybody(page)
    page.get_by_role("button", name="Set the controls to this report").click()
    wait_for_query(page, sparsity="0.85")
    expect(page.locator(".scope .badge")).to_have_text("exact")


def test_figures_panels_tables_and_network_are_taken_away_and_the_network_comes_back(
    page: Page, address: str, tmp_path: Path
) -> None:
    open_page(page, f"{address}/?{SMALL}")
    repaired = page.locator(".card .big").nth(2).inner_text()
    panels_are_saved(page, {"ratios": ("circle", 19), "answers": ("rect", 30)})
    page.get_by_text("Export and share").click()
    cameras_save(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Tables (Parquet)").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        variants = pd.read_parquet(archive.open("variants.parquet"))
        assert set(archive.namelist()) >= {"layers.parquet", "images.parquet", "predictions-by-class.parquet"}
    assert f"{100 * variants.set_index('variant').accuracy['repaired']:.1f}" == repaired.split()[0]
    page.get_by_role("button", name="Make the file").click()
    with page.expect_download() as made:
        page.get_by_role("button", name="Save resnet20-digits-magnitude-80pct-reflow-network.safetensors").click()
    taken = tmp_path / "taken.safetensors"
    made.value.save_as(taken)
    open_page(page, f"{address}/?{SMALL}&sparsity=0&repair=none")
    page.get_by_text("Data, your own files").click()
    page.locator("[data-testid=stFileUploader] input[type=file]").first.set_input_files(taken)
    expect(page.locator(".scope .card").first).to_contain_text(repaired)
    expect(page.locator(".scope .headline")).to_contain_text("0 % of the weights removed")


def test_a_view_is_pinned_compared_swapped_and_shared(
    page: Page, address: str, other: BrowserContext, for_everybody: Callable[[Page], None]
) -> None:
    open_page(page, f"{address}/?{SMALL}&repair=none")
    page.get_by_role("button", name="Pin", exact=True).click()
    go(page, "Compare", "A/B")
    expect(page.get_by_text("A and B are the same view")).to_be_visible()
    sparsity = page.get_by_role("spinbutton", name="Sparsity (%)")
    sparsity.fill("50")
    sparsity.press("Enter")
    expect(page.get_by_role("heading", name=re.compile(r"^B is .* points better than A"))).to_be_visible()
    expect(page.get_by_text(re.compile("sparsity 0.8 → 0.5")).first).to_be_visible()
    wait_for_query(page, sparsity="0.5")
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    fresh = other.new_page()
    fresh.goto(page.url)
    expect(fresh.get_by_text(re.compile("sparsity 0.8 → 0.5")).first).to_be_visible(timeout=45_000)
    fresh.close()
    for_everybody(page)
    page.get_by_role("button", name="Swap A and B").click()
    expect(page.get_by_role("heading", name=re.compile(r"^B is .* worse than A"))).to_be_visible()
    page.get_by_role("button", name="Unpin").click()
    expect(page.get_by_text("Nothing is pinned yet")).to_be_visible()


def test_nonsense_in_a_link_to_the_lesson_is_named_and_its_words_still_explain_themselves(
    page: Page, address: str
) -> None:
    page.goto(f"{address}/lesson?{SMALL}&model=%3Cscript%3E&guess=abc&step=0")
    expect(page.get_by_role("heading", name="1. A trained network")).to_be_visible()
    expect(page.locator(".told").first).to_be_visible()
    expect(page.get_by_test_id("stAlert").filter(has_text="Unknown model '<script>'")).to_be_visible()
    word = page.locator(".term").first
    meaning = word.locator("span")
    expect(meaning).to_be_hidden()
    word.focus()
    expect(meaning).to_be_visible()
