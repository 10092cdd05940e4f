"""`make screenshots`: the pictures of the documents, taken from the real pages with the whole sweep computed.

One moves: the demo mode, preset by preset, as the README shows it.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect

from tests.e2e.browser import ROOT, browser, server

FILM, EASING = "collapse", 10  # its name; pictures of each change
FOLDER = ROOT / "assets" / "pictures"
SHOTS = (
    ("collapse-light", "/", "light", 1280, 1880),
    ("collapse-dark", "/", "dark", 1280, 1080),
    ("sweep", "/sweep", "light", 1280, 1080),
    ("selection", "/selection_vs_repair", "light", 1280, 1080),
    (
        "frontier",
        "/selection_vs_repair?frontier=true&criteria=magnitude&repairs=none&repairs=reflow",
        "light",
        1280,
        1080,
    ),
    ("signal", "/?show=stream&sparsity=0.9", "light", 1280, 1320),
    ("compare", "/ab?a=repair%3Dreflow&sparsity=0.9&repair=least-squares", "light", 1280, 1080),
    ("story", "/lesson?step=4&guess=30", "light", 1280, 1180),
    ("demo", "/?demo=1&preset=4", "dark", 1280, 1150),
    ("phone", "/", "light", 390, 844),
    (
        "sensitivity",
        "/sensitivity?prune=whole+channels&evaluation_images=200",
        "light",
        1280,
        1080,
    ),
    ("slices", "/slices_and_gate?sparsity=0.85&evaluation_tail=5", "light", 1280, 1080),
    ("hardware", "/hardware?sparsity=0.9", "light", 1280, 1080),
)
PARTS = {"frontier": ".st-key-repair-frontier"}  # of a page, where not all of what is seen is wanted


def take(chromium: Browser, address: str, name: str, path: str, scheme: str, width: int, height: int) -> None:
    """One picture of one page, after its sweep is complete."""
    viewport = {"width": width, "height": height}
    context = chromium.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address + path)
    done = re.compile(r"^All \d+ (sparsities|diagnoses) are computed")
    if name in ("hardware", "compare"):
        page.wait_for_selector("[data-testid=stMain] h4", timeout=60_000)
    else:
        expect(page.get_by_text(done).first).to_be_attached(timeout=400_000)
    if path.startswith(("/?", "/lesson")) or path == "/":
        page.wait_for_selector(".scope .card")
    if not any(word in path for word in ("lesson", "demo")):
        page.wait_for_selector(".js-plotly-plot .xtick text")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    wanted = page.locator(PARTS[name]) if name in PARTS else page
    wanted.screenshot(path=FOLDER / f"{name}.png", animations="disabled")
    context.close()


def film(chromium: Browser, address: str) -> None:
    """Eight seconds: pruned a little, more, to the collapse, then repaired."""
    page = chromium.new_context(viewport={"width": 1280, "height": 940}, color_scheme="light").new_page()
    page.goto(f"{address}/?demo=1&preset=1")
    expect(page.get_by_text(re.compile(r"^All \d+ sparsities are computed")).first).to_be_attached(timeout=400_000)
    pictures, durations = list[Image.Image](), list[int]()
    for key in "1234":
        page.keyboard.press(key)
        for _ in range(EASING):
            pictures.append(Image.open(io.BytesIO(page.screenshot())).resize((960, 705)))
            durations.append(80)
        durations[-1] = 8000 // 4 - 80 * (EASING - 1)
    first, *others = pictures
    first.save(
        FOLDER / f"{FILM}.webp", save_all=True, append_images=others, duration=durations, loop=0, quality=70, method=6
    )
    page.context.close()


def main() -> None:
    """All of them, or those whose names are given."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache, server(Path(cache)) as address, browser() as chromium:
        for shot in (each for each in SHOTS if each[0] in (sys.argv[1:] or [each[0]])):
            take(chromium, address, *shot)
            print(shot[0])
        if not sys.argv[1:] or FILM in sys.argv:
            film(chromium, address)
            print(FILM)


if __name__ == "__main__":
    main()
