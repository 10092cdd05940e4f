"""A server that was just started: the frame and the outline stand before anything heavy is imported.

The import of torch is held until the test lets it go, so that all of this is a condition and no time. What follows are
the page's figures, or their price on a machine so busy that it seems high.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pages.ui.contents import CONTENTS
from tests.e2e.browser import server
from tests.e2e.test_access import FIGURE
from tests.e2e.test_journeys import SMALL, go

HELD = """
import sys, time
from importlib.machinery import PathFinder
from pathlib import Path

class Held(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "torch":
            return None
        spec = super().find_spec(name, path, target)
        load = spec.loader.exec_module

        def wait(module):
            while not Path({gate!r}).exists():
                time.sleep(0.02)
            load(module)

        spec.loader.exec_module = wait
        return spec

sys.meta_path.insert(0, Held)
"""
RAW = """new MutationObserver(() => {  // Streamlit's own list of the files in pages/
  window.raw = window.raw || document.querySelector("[data-testid=stSidebarNavItems]") !== null;
}).observe(document, { childList: true, subtree: true });"""


@contextmanager
def held(folder: Path) -> Iterator[tuple[str, Path]]:
    """A server that imports torch as soon as there is a file: its address, and that file."""
    gate = folder / "gate"
    with server(folder, arguments=["--on-demand"], first=HELD.format(gate=str(gate))) as address:
        yield address, gate


def stands(page: Page, title: str) -> None:
    """A page's frame with the outline, and not yet what it computes."""
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    expect(page.get_by_test_id("stTopNavSection")).to_have_text(list(CONTENTS))
    expect(page.locator(".skeleton")).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(1)


@pytest.mark.parametrize("path, title, drawn", [("", "Overview", ".scope .card"), ("/sweep", "Sweep", FIGURE)])
def test_the_frame_and_the_outline_stand_before_torch_is_imported(
    page: Page, tmp_path: Path, path: str, title: str, drawn: str
) -> None:
    page.add_init_script(RAW)
    with held(tmp_path) as (address, gate):
        page.goto(f"{address}{path}?{SMALL}&seed=3")
        stands(page, title)
        gate.touch()
        page.locator(drawn).or_(page.get_by_role("button", name="Compute, about")).first.wait_for()
        expect(page.locator(".skeleton")).to_have_count(0)
        expect(page.get_by_label("Seed", exact=True)).to_have_value("3")
        assert not page.evaluate("window.raw")


def test_who_waits_for_the_imports_may_leave_for_another_page(page: Page, tmp_path: Path) -> None:
    with held(tmp_path) as (address, gate):
        page.goto(address)
        stands(page, "Overview")
        go(page, "Reference", "Methods and limits")
        stands(page, "Methods and limits")
        gate.touch()
        expect(page.get_by_role("heading", name="Versions")).to_be_visible()
        expect(page.locator(".skeleton")).to_have_count(0)
