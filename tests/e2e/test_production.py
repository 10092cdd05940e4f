"""The pages before a release, each as a person uses it: answer, picture, controls, and what one takes away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Download, Page, expect

from reflow_core.images.digits import digits
from tests.e2e.access import AT_REST
from tests.e2e.test_journeys import SLIDER, SMALL, TINY, query, wait_for_query

ANSWER = "[data-testid=stMain] h4"


def opened(page: Page, address: str, name: str, spec: str = SMALL) -> None:
    page.goto(f"{address}/{name}?{spec}")
    expect(page.locator(ANSWER).first).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def picture(page: Page) -> None:
    """A figure, and its message as alternative text."""
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()


def taken(page: Page) -> dict[str, object]:
    """What the page's first JSON download holds; the command stands beside it, the link in the page's head."""
    page.get_by_text("Export and share").first.click()
    expect(page.get_by_text(re.compile(r"python -m reflow_core \w+ --json")).first).to_be_visible()
    page.evaluate(AT_REST)  # what is drawn anew under a click gives no file
    with page.expect_download() as waiting:
        page.get_by_role("button", name="JSON").first.click()
    download: Download = waiting.value
    found: dict[str, object] = json.loads(Path(download.path()).read_text())
    return found


def test_sensitivity_becomes_a_budget_that_opens_on_the_overview(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    opened(page, address, "sensitivity", f"{TINY}&model=vgg-digits")
    expect(page.locator(ANSWER).first).to_contain_text(
        re.compile(r"When a single layer loses (70|90|98).% of its weig")
    )
    picture(page)
    expect(page.get_by_text("Sparsity to reach")).to_be_visible(timeout=120_000)
    expect(
        page.get_by_role("button", name=re.compile("Measure the full profile: 121 diagnoses, about"))
    ).to_be_visible()
    found = taken(page)
    assert str(found["answer"]).startswith("When a single layer")
    expect(page.get_by_text(re.compile("the budget from this profile reaches"))).to_have_count(2)  # answer and caption
    for_everybody(page)
    page.get_by_role("button", name="Open on the Overview").click()
    expect(page.locator(".scope .badge")).to_have_text("exact")
    assert "/sensitivity" not in page.url
    page.get_by_text(re.compile("Allocation, update, pattern, kept dense.*changed")).click()
    expect(page.get_by_role("textbox", name="Sparsity by layer")).to_have_value(re.compile(r"\d:0\.\d+"))
    headline, kept = page.locator(".scope .headline").inner_text().replace("\u00a0", " "), query(page)
    assert headline.startswith("90 % of the weights removed") and float(kept["sparsity"]) == pytest.approx(
        0.9, abs=0.01
    )
    assert kept["allocation"] == "scaled" and kept["model"] == "vgg-digits" and ":" in kept["layer_sparsity"]
    page.reload()
    expect(page.locator(".scope .headline")).to_have_text(headline)
    expect(page.locator(".scope .percent")).to_have_text(re.compile(r"^(90|89\.9\d|90\.0\d) %$"))
    page.locator(SLIDER).focus()
    page.keyboard.press("ArrowLeft")
    wait_for_query(page, sparsity="0.89")
    expect(page.locator(".scope .headline")).to_contain_text("89 % of the weights removed")
    assert query(page)["layer_sparsity"] == kept["layer_sparsity"]


def test_slices_judge_the_release_and_read_ones_own_columns(
    page: Page, address: str, tmp_path: Path, for_everybody: Callable[[Page], None]
) -> None:
    opened(page, address, "slices_and_gate", f"{SMALL}&sparsity=0.9&slice_drop=1&repair=none")
    expect(page.locator(ANSWER).first).to_contain_text("Failed")
    picture(page)
    page.get_by_text("Release limits").click()
    limits = page.get_by_role("textbox", name="Limits of single slices")
    limits.fill("class/99:0.5")
    limits.press("Enter")
    expect(page.get_by_test_id("stAlert")).to_contain_text("There is no slice 'class/99'")
    limits.fill("")
    limits.press("Enter")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    labels = digits().test.labels
    assert labels is not None
    rows = "\n".join("odd" if label % 2 else "even" for label in labels.tolist())
    (tmp_path / "own.csv").write_text(f"parity\n{rows}\n")
    page.locator("[data-testid=stMain] input[type=file]").set_input_files(tmp_path / "own.csv")
    page.get_by_test_id("stMain").get_by_role("radio", name="parity").click()
    expect(page.get_by_text(re.compile(r"^even\s+\(n = \d+\)$"))).to_be_visible()
    found = taken(page)
    assert found["passed"] is False
    expect(page.get_by_text(re.compile("ver the corruptions")).first).to_be_visible()
    for_everybody(page)


def test_channels_are_cut_verified_and_the_link_keeps_how_many(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    opened(page, address, "structured_pruning")
    expect(page.locator(".st-key-answer")).to_contain_text("All 7 of 7 checks of the cut pass")
    picture(page)
    expect(page.get_by_text("same as zeroed")).to_be_visible()
    slider = page.get_by_role("slider", name="Channels to cut (%)")
    slider.focus()
    slider.press("ArrowLeft")
    wait_for_query(page, channels="45")
    expect(page.locator(ANSWER).first).to_contain_text("Cut to 5")
    found = taken(page)
    assert found["passed"] is True
    for_everybody(page)


def test_int8_is_compared_and_its_order_is_swapped(
    page: Page, address: str, for_everybody: Callable[[Page], None]
) -> None:
    opened(page, address, "quantization")
    expect(page.locator(".st-key-answer")).to_contain_text("int8 alone")
    picture(page)
    page.get_by_role("radio", name="int8-prune-repair").click()
    wait_for_query(page, quantize_order="int8-prune-repair")
    page.get_by_text("Export and share").first.click()
    expect(page.get_by_text("--quantize-order int8-prune-repair").first).to_be_visible()
    for_everybody(page)
    opened(page, address, "quantisation", f"{SMALL}&quantise_order=int8-prune-repair")
    wait_for_query(page, quantize_order="int8-prune-repair")
    assert "/quantization?" in page.url, "links with the old spelling still lead here"


def test_hardware_says_what_sparsity_buys(page: Page, address: str, for_everybody: Callable[[Page], None]) -> None:
    opened(page, address, "hardware")
    expect(page.locator(ANSWER).first).to_contain_text("End to end, zeros make this network")
    expect(page.get_by_text("2:4 is not available").or_(page.get_by_text("could run as 2:4")).first).to_be_visible()
    picture(page)
    assert "End to end" in taken(page)["tables"]  # type: ignore[operator]
    for_everybody(page)


def test_claims_come_in_one_by_one(page: Page, address: str, for_everybody: Callable[[Page], None]) -> None:
    opened(page, address, "claims_tested")
    expect(page.locator(ANSWER).first).to_contain_text("claims about pruning in production")
    picture(page)
    expect(page.get_by_text("Source:").first).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text(re.compile(r"Paused at \d+ of 14 claims"))).to_be_visible()
    assert query(page)["evaluation_images"] == "64"
    for_everybody(page)
