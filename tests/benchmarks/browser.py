"""What a person waits for in the browser, against pages that do nothing but redraw."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from reflow_core import Library, Spec
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.machine import prepare
from tests.benchmarks.before import before
from tests.benchmarks.core import Row, bare
from tests.e2e.browser import ROOT, browser, server
from tests.e2e.setup_browser import executable

REFERENCE = Path(__file__).with_name("reference_page.py")
TRIES = 5
FIGURES = 5  # the scope draws three panels, Plotly two
MOVES = 20
OURS = ".scope .card"
SLIDER = ".scope input[type=range]"
REFERENCE_SLIDER = "[data-testid=stSlider] [role=slider], [data-testid=stSlider] input"
STUDY = "criteria=magnitude&criteria=wanda&criteria=snip&criteria=fisher&evaluation_images=700&seed=2"
OUTLINED = """new MutationObserver((_, watch) => {
  const shown = document.querySelector(".skeleton, .js-plotly-plot, button[kind=primary]");
  if (shown) { window.outlined = performance.now(); watch.disconnect(); }
}).observe(document, { childList: true, subtree: true });"""  # before, some pages had no outline; a price has a button
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


def first_second() -> Iterator[Row]:
    """On servers that were just started: from the load of the page's own scripts to the outline, now and before."""
    if executable() is None:
        print("no Chromium on this machine: browser benchmarks skipped")
        return
    with before() as earlier, browser() as chromium:
        places = [ROOT] if earlier is None else [ROOT, earlier]
        for path in ("", "/sweep"):
            tries = [[_outline(chromium, place, path) for place in places] for _ in range(TRIES)]
            ours, *theirs = map(statistics.median, zip(*tries, strict=True))
            note = f"before {theirs[0]:.2f} s" if theirs else ""
            yield Row(f"fresh server, scripts loaded to outline, {path or '/'} (s)", 0.8, ours, note=note)


def _outline(chromium: Browser, place: Path, path: str) -> float:
    """Seconds, with a server of its own."""
    with tempfile.TemporaryDirectory() as cache, server(Path(cache), place / "app.py") as address:
        page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.add_init_script(OUTLINED)
        page.goto(address + path)
        page.wait_for_function("window.outlined", timeout=60_000)
        loaded = "performance.timing.loadEventEnd - performance.timing.navigationStart"
        seconds: float = page.evaluate(f"window.outlined - ({loaded})") / 1000
        page.context.close()
    return seconds


def in_browser() -> Iterator[Row]:
    """Slider release to new figures, first screen, and frames while scrubbing."""
    if executable() is None:
        print("no Chromium on this machine: browser benchmarks skipped")
        return
    with tempfile.TemporaryDirectory() as cache, browser() as chromium:
        folder, other = Path(cache), Path(cache) / "reference"
        other.mkdir()
        with server(folder) as ours:
            with (
                server(other, REFERENCE, {"REFERENCE_FIGURES": "1"}) as one_chart,
                before() as place,
                _server_of(place) as earlier,
            ):
                yield _first_screens(chromium, ours, one_chart, earlier)
            with server(other, REFERENCE, {"REFERENCE_FIGURES": str(FIGURES)}) as floor:
                yield from _sliders(chromium, ours, floor)


@contextmanager
def _server_of(place: Path | None) -> Iterator[str | None]:
    """The dashboard of another checkout, where there is one."""
    if place is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as cache, server(Path(cache), place / "app.py") as address:
        yield address


def _first_screens(chromium: Browser, ours: str, one_chart: str, earlier: str | None) -> Row:
    pages = [(one_chart, ".drawn"), (ours, OURS), *([] if earlier is None else [(earlier, OURS)])]
    for address, ready in pages:
        _open(chromium, address, ready).context.close()  # the server is warm, the browser context cold
    tries = [[_first_screen(chromium, *each) for each in pages] for _ in range(TRIES)]
    floor, first, *theirs = map(statistics.median, zip(*tries, strict=True))
    note = f"{first:.2f} s / {floor:.2f} s" + (f"; before {theirs[0] / floor:.2f}" if theirs else "")
    return Row("first screen / one-chart page", 1.3, first / floor, note=note)


def _first_screen(chromium: Browser, address: str, ready: str) -> float:
    start = time.perf_counter()
    page = _open(chromium, address, ready)
    seconds = time.perf_counter() - start
    page.context.close()
    return seconds


def _sliders(chromium: Browser, ours: str, floor: str) -> Iterator[Row]:
    """Moves of both pages and bare passes take turns, so that a noisy machine is noisy for all of them."""
    reference, page = _open(chromium, floor, ".drawn"), _open(chromium, f"{ours}/?sparsity=0.5&seed=1", OURS)
    if page.get_by_role("button", name="Pause").count():
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Resume").wait_for()
    passes = _three_passes()
    redraw, three, fresh, known = [], [], [], []
    for number in range(MOVES):
        redraw.append(_move(reference, REFERENCE_SLIDER, ".drawn", 51 + number))
        three.append(passes())
        fresh.append(_move(page, SLIDER, ".scope", 0.51 + number / 100))
        known.append(_move(page, SLIDER, ".scope", 0.50 + number / 100, "ArrowLeft"))
        _move(page, SLIDER, ".scope", 0.51 + number / 100)
    passed, redrawn, new, old = statistics.median(three), _p95(redraw), _p95(fresh), _p95(known)
    note = f"p95 {new:.2f} s / ({passed:.2f} + {redrawn:.2f}) s"
    yield Row("slider, new spec / (three passes + redraw)", 1.4, new / (passed + redrawn), note=note)
    yield Row("slider, known spec / redraw", 1.5, old / redrawn, note=f"p95 {old:.2f} s / {redrawn:.2f} s")
    yield _while_sweeping(chromium, ours, page, statistics.median(fresh))
    yield _scrub(page)
    yield _signal(chromium, ours)


def _while_sweeping(chromium: Browser, ours: str, page: Page, quiet: float) -> Row:
    """The same move while another visitor's study computes and draws itself on the same machine."""
    study = _open(chromium, f"{ours}/sweep?{STUDY}", ".js-plotly-plot")
    moved = []
    for number in range(MOVES // 2):
        moved.append(_move(page, SLIDER, ".scope", 0.51 + (MOVES + number) / 100))
        study.get_by_role("button", name="Pause").wait_for()  # it still runs
    study.context.close()
    busy = statistics.median(moved)
    return Row(
        "slider while a study runs / quiet",
        2.0,
        busy / quiet,
        note=f"median {busy:.2f} s / {quiet:.2f} s",
    )


def _open(chromium: Browser, address: str, ready: str) -> Page:
    page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector(ready, state="attached")
    page.wait_for_selector(".js-plotly-plot .scatterlayer", state="attached")
    page.wait_for_selector(IDLE)
    return page


def _move(page: Page, slider: str, shown: str, value: float, key: str = "ArrowRight") -> float:
    page.bring_to_front()
    page.locator(slider).first.focus()
    start = time.perf_counter()
    page.keyboard.press(key)
    page.wait_for_selector(f'{shown}[data-shown="{round(value, 2):g}"]', state="attached")
    if slider == SLIDER:
        page.locator(".scope .badge", has_text="exact").filter(has_not_text="computing").wait_for()
    page.wait_for_selector(IDLE)
    return time.perf_counter() - start


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


def _signal(chromium: Browser, ours: str) -> Row:
    """Pictures of the stream and the features a second while the slider is dragged through a whole sweep."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{ours}/?show=stream&evaluation_images=32&calibration_images=16")
    page.get_by_text("All 100 sparsities are computed").wait_for(timeout=240_000)
    page.wait_for_selector(".scope[data-portraits='20']")
    slider, scope = page.locator(".scope input[type=range]"), page.locator(".scope")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 10)
    page.mouse.down()
    drawn, start = int(scope.get_attribute("data-painted") or 0), time.perf_counter()
    for step in range(160):
        page.mouse.move(box["x"] + (0.3 + 0.005 * (step if step < 80 else 160 - step)) * box["width"], box["y"] + 10)
    seconds = time.perf_counter() - start
    rate = (int(scope.get_attribute("data-painted") or 0) - drawn) / seconds
    page.mouse.up()
    page.close()
    return Row("frames a second of the drawn signal while scrubbing", 30, rate, at_most=False)


def _three_passes() -> Callable[[], float]:
    library, spec = Library(), Spec()
    network = library.network(spec.model)
    images = library.images(spec)
    prepare()
    inputs = evaluation_inputs(images.test, network.info)(slice(None))

    def passes() -> float:
        start = time.perf_counter()
        for part in (inputs, inputs[: spec.calibration_images], inputs):
            bare(network.module, part)
        return time.perf_counter() - start

    passes()
    return passes


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


BENCHMARKS = (first_second, in_browser)
