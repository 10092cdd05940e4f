"""A move to a sparsity that nobody has computed: what is known stands there at once, marked as what it is."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.browser import ROOT, server
from tests.e2e.visitor import Visitor

SPEC = "seed=7"  # of no other test's, so that nothing is known before
LOOK = """(scope) => {
  window.drawn = [];
  const look = () => window.drawn.push(
    [scope.querySelector(".percent").textContent, scope.querySelector(".badge").textContent, scope.dataset.shown]);
  new MutationObserver(look).observe(scope, { subtree: true, childList: true, attributes: true });
}"""


def test_until_the_exact_answer_comes_the_nearest_stands_there_and_is_called_so(page: Page, address: str) -> None:
    """The old page stood there, with its own sparsity, and said nothing of the new one."""
    page.goto(f"{address}/?{SPEC}")
    scope, sparsity = page.locator(".scope"), page.get_by_role("spinbutton", name="Sparsity (%)")
    expect(scope.locator(".badge")).to_have_text("exact")
    scope.evaluate(LOOK)
    sparsity.fill("63")
    sparsity.press("Enter")
    expect(scope.locator(".percent")).to_have_text("63 %")
    expect(scope.locator(".badge")).to_have_text("exact")
    drawn = [(badge, shown) for percent, badge, shown in page.evaluate("window.drawn") if percent == "63 %"]
    assert ("nearest computed: 80 % · computing the exact result…", "0.8") in drawn
    assert {shown for badge, shown in drawn if badge == "exact"} == {"0.63"}
    expect(page.get_by_text("Layer similarity to dense").first).to_be_visible()


ORDER = """([code, drawings]) => {
  const seen = [];
  class View {
    update(data) { this.data = data; seen.push(data.name); }
  }
  const draw = new Function(`${code}; return mount;`)()(View);
  for (const data of drawings) draw({ data, parentElement: document.body });
  return seen;
}"""


def test_a_drawing_that_is_handed_over_late_is_not_drawn(page: Page) -> None:
    """Under load a browser got the exact answer before the nearest one, and then showed that for good."""
    code = (ROOT / "pages" / "ui" / "scope" / "scope.js").read_text()
    names = [("exact", 1_000_020), ("nearest", 1_000_000), ("same again", 1_000_020), ("another server", 5)]
    drawings = [{"name": name, "at": at} for name, at in names]
    assert page.evaluate(ORDER, [code, drawings]) == ["exact", "same again", "another server"]


def test_a_look_after_the_sweep_that_knows_an_older_value_changes_nothing(tmp_path: Path) -> None:
    """The browser had not drawn the new sparsity yet when it looked, sent the one before, and the page went back."""

    async def look(address: str) -> list[list[float]]:
        visitor, _ = await Visitor.opened(address)
        seen = []
        try:
            await visitor.until(lambda: visitor.answered() and bool(visitor._polling), 60)
            for percent in (61.0, 83.5, 47.3, 33.1):
                before = len(visitor.scopes)
                fragment = next(iter(visitor._polling))
                await visitor.set("Sparsity (%)", double_value=percent)
                await visitor.rerun(fragment)
                await visitor.until(lambda percent=percent: visitor.answered(round(percent / 100, 4)), 60)  # type: ignore[misc]
                seen.append([sparsity for sparsity, _ in visitor.scopes[before:]])
        finally:
            await visitor.leave()
        return seen

    with server(tmp_path) as address, ThreadPoolExecutor(1) as aside:
        seen = aside.submit(asyncio.run, look(address)).result()
    for sparsities, asked in zip(seen, (0.61, 0.835, 0.473, 0.331), strict=True):
        since = sparsities[sparsities.index(asked) :]
        assert since == [asked] * len(since)


def test_another_person_finds_what_one_has_computed_and_is_sent_the_nearest_first(address: str) -> None:
    """Over the websocket, where every message is seen."""

    async def both() -> list[tuple[float, bool]]:
        one, _ = await Visitor.opened(address, "seed=8")
        await one.until(lambda: bool(one.scope), 60)
        other, _ = await Visitor.opened(address, "seed=8&sparsity=0.7")
        await other.until(lambda: bool(other.scope) and other.scope["exact"] is not None, 60)
        await one.leave()
        await other.leave()
        return other.scopes

    with ThreadPoolExecutor(1) as thread:  # which has no loop yet; the browser has one in this
        scopes = thread.submit(lambda: asyncio.run(both())).result()
    assert scopes == [(0.7, False), (0.7, True)], "the sparsity that is asked for, at first not exact"


def test_a_layer_that_is_chosen_meanwhile_is_in_the_link(page: Page, address: str) -> None:
    """Its control is drawn below what is still being computed, and the link never heard of it."""
    page.goto(f"{address}/?{SPEC}")
    scope, sparsity = page.locator(".scope"), page.get_by_role("spinbutton", name="Sparsity (%)")
    expect(scope.locator(".badge")).to_have_text("exact")
    sparsity.fill("47")
    sparsity.press("Enter")
    expect(scope.locator(".badge")).to_have_text("nearest computed: 63 % · computing the exact result…")
    scope.locator(".ratios .layers").press("Home")
    page.wait_for_url("**layer=**")
    expect(scope.locator(".badge")).to_have_text("exact")
    expect(page.get_by_role("combobox", name="Layer").first).to_have_value("bn1")


def test_a_preview_is_called_so_until_its_exact_answer_comes(page: Page, tmp_path: Path) -> None:
    slow = "from reflow_core.lab import request\nrequest.preview_pays = lambda spec, source: True\n"
    with server(tmp_path, first=slow, at_once=True) as address:
        page.goto(f"{address}/?evaluation_images=64&calibration_images=32")
        scope, slider = page.locator(".scope"), page.locator(".scope input[type=range]")
        expect(page.get_by_text("99 of 100 sparsities are previews")).to_be_visible()
        expect(scope.locator(".curve")).to_have_attribute("aria-label", re.compile("99 of them previews"))
        slider.evaluate("(slider) => { slider.value = 41; slider.dispatchEvent(new Event('input')); }")
        expect(scope.locator(".badge")).to_have_text("preview, in bfloat16")
        slider.evaluate("(slider) => slider.dispatchEvent(new Event('change'))")
        expect(scope.locator(".badge")).to_have_text("exact")
        expect(page.get_by_text("98 of 100 sparsities are previews")).to_be_visible()
        page.get_by_role("button", name="Compute exactly").click()
        expect(page.get_by_text("All 100 sparsities are computed")).to_be_visible()
        expect(scope.locator(".curve")).not_to_have_attribute("aria-label", re.compile("previews"))
