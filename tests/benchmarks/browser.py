"""What a person waits for in the browser, against pages that do nothing but redraw."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page

from reflow_core import Library, Spec
from reflow_core.calibration import evaluation_inputs
from reflow_core.machine import prepare
from tests.benchmarks.core import Row, bare
from tests.e2e.browser import CHROMIUM, browser, server

REFERENCE = Path(__file__).with_name("reference_page.py")
FIGURES = 5  # the scope draws three panels, Plotly two
MOVES = 15
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


def in_browser() -> Iterator[Row]:
    """Slider release to new figures, first screen, and frames while scrubbing."""
    if CHROMIUM is None:
        print("no Chromium on this machine: browser benchmarks skipped")
        return
    with tempfile.TemporaryDirectory() as cache, browser() as chromium:
        folder = Path(cache)
        with server(folder, REFERENCE, {"REFERENCE_FIGURES": str(FIGURES)}) as address:
            redraw = _quantile(
                _moves(
                    _open(chromium, address, ".drawn"),
                    "[data-testid=stSlider] [role=slider], [data-testid=stSlider] input",
                    ".drawn",
                    51,
                )
            )
        with server(folder, REFERENCE, {"REFERENCE_FIGURES": "1"}) as address:
            one_chart = _first_screen(chromium, address, ".drawn")
        with server(folder) as address:
            yield from _ours(chromium, address, redraw, one_chart)


def _ours(chromium: Browser, address: str, redraw: float, one_chart: float) -> Iterator[Row]:
    first = _first_screen(chromium, address, ".scope .card")
    yield Row("first screen / one-chart page", 1.6, first / one_chart, note=f"{first:.2f} s / {one_chart:.2f} s")
    page = _open(chromium, f"{address}/?sparsity=0.5", ".scope .card")
    if page.get_by_role("button", name="Pause").count():
        page.get_by_role("button", name="Pause").click()
    three = _three_passes()
    fresh = _quantile(_moves(page, ".scope input[type=range]", ".scope", 51, scale=100))
    note = f"p95 {fresh:.2f} s / ({three:.2f} + {redraw:.2f}) s"
    yield Row("slider, new spec / (three passes + redraw)", 1.4, fresh / (three + redraw), note=note)
    known = _quantile(_moves(page, ".scope input[type=range]", ".scope", 49 + MOVES, scale=100, back=True))
    yield Row("slider, known spec / redraw", 1.5, known / redraw, note=f"p95 {known:.2f} s / {redraw:.2f} s")
    yield _scrub(page)


def _open(chromium: Browser, address: str, ready: str) -> Page:
    page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector(ready, state="attached")
    page.wait_for_selector(".js-plotly-plot .scatterlayer", state="attached")
    page.wait_for_selector(IDLE)
    return page


def _first_screen(chromium: Browser, address: str, ready: str) -> float:
    _open(chromium, address, ready).context.close()  # the server is warm, the browser context cold
    times = []
    for _ in range(5):
        start = time.perf_counter()
        page = _open(chromium, address, ready)
        times.append(time.perf_counter() - start)
        page.context.close()
    return statistics.median(times)


def _moves(page: Page, slider: str, shown: str, start: int, scale: int = 1, back: bool = False) -> list[float]:
    times = []
    page.locator(slider).first.focus()
    for number in range(MOVES):
        value = start - number if back else start + number
        begun = time.perf_counter()
        page.keyboard.press("ArrowLeft" if back else "ArrowRight")
        page.wait_for_selector(f'{shown}[data-shown="{value / scale:g}"]', state="attached")
        if scale > 1:
            page.locator(".scope .badge", has_text="exact").filter(has_not_text="computing").wait_for()
        page.wait_for_selector(IDLE)
        times.append(time.perf_counter() - begun)
    return times


def _scrub(page: Page) -> Row:
    slider, scope = page.locator(".scope input[type=range]"), page.locator(".scope")
    box = slider.bounding_box()
    assert box is not None
    y, drawn = box["y"] + 10, int(scope.get_attribute("data-frames") or 0)
    page.mouse.move(box["x"] + 0.3 * box["width"], y)
    page.mouse.down()
    start = time.perf_counter()
    for step in range(80):
        page.mouse.move(box["x"] + (0.3 + 0.01 * (step if step < 40 else 80 - step)) * box["width"], y)
    seconds = time.perf_counter() - start
    rate = (int(scope.get_attribute("data-frames") or 0) - drawn) / seconds
    page.mouse.up()
    return Row("redraws a second while scrubbing", 30, rate, at_most=False, note=f"80 moves in {seconds:.1f} s")


def _three_passes() -> float:
    library, spec = Library(), Spec()
    network = library.network(spec.model)
    images = library.images(spec)
    prepare()
    inputs = evaluation_inputs(images.test, network.info)(slice(None))
    times = []
    for _ in range(9):
        start = time.perf_counter()
        for part in (inputs, inputs[: spec.calibration_images], inputs):
            bare(network.module, part)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _quantile(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


BENCHMARKS = (in_browser,)
