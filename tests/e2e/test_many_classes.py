"""A thousand classes in a real browser: ten by name and the rest, the same rows for every variant, on every screen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from reflow_core.networks.zoo import classes_of_imagenet, synsets
from tests.app.test_bugs import THOUSAND
from tests.e2e import browser as real


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a folder that its owner opened: a network of a thousand classes, pictures of six of them."""
    folder = tmp_path_factory.mktemp("opened")
    (folder / "thousand.py").write_text(THOUSAND)
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for synset in list(synsets())[:6]:
            (place := folder / "pictures" / part / synset).mkdir(parents=True)
            for number in range(4):
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place / f"{number}.png")
    arguments = ["--data-root", str(folder), "--allow-code", "--on-demand"]
    with real.server(tmp_path_factory.mktemp("cache"), arguments=arguments, at_once=True) as running:
        yield running


def brought(page: Page, address: str) -> None:
    """The page with one's own pictures and network."""
    page.goto(f"{address}/?calibration_images=16")
    expect(page.locator(".scope .badge")).to_have_text("exact")
    page.get_by_text("Data, your own files").click()
    for label, name in (("Images on the server", "pictures"), ("Your own network", "thousand.py:build")):
        box = page.get_by_role("textbox", name=label)
        box.fill(name)
        box.press("Enter")
    expect(page.get_by_text(re.compile("^Using thousand.py:build, your own code"))).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_collapse_plot_names_ten_of_a_thousand_classes(page: Page, server: str, width: int) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    brought(page, server)
    page.set_viewport_size({"width": width, "height": 800})
    plot = page.locator(".answers svg")
    expect(plot).to_contain_text(re.compile(r"99\d others"))
    names = plot.locator("text title").all_text_contents()
    assert 2 <= len(names) <= 11 and set(names[:-1]) <= set(classes_of_imagenet())
    assert plot.locator("rect").count() == 3 * len(names)
    shares = [
        float(text.removeprefix("< ").split()[0])
        for text in plot.locator("text").all_text_contents()
        if text.endswith("%")
    ]
    columns = [shares[start : start + len(names)] for start in range(0, len(shares), len(names))]
    assert len(columns) == 3 and max(column[-1] for column in columns) == 0, "all that is predicted is named"
    assert all(abs(sum(column) - 100) < 1.2 for column in columns)
    expect(page.locator(".answers .note")).to_contain_text("The images themselves: 6.0 effective classes.")
    box = plot.bounding_box()
    assert box is not None
    inside = plot.evaluate("""(svg) => [...svg.querySelectorAll("rect, text")].every(
      (mark) => mark.getBoundingClientRect().right <= svg.getBoundingClientRect().right + 1)""")
    assert inside, "nothing is cut off"
    page.set_viewport_size({"width": 1280, "height": 800})
