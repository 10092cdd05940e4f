"""One server and one browser for all journeys; skipped with a reason where no Chromium is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.e2e import access
from tests.e2e import browser as real

expect.set_options(timeout=45_000)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Sweeps begin when a test asks for one: what nobody waits for would only take the processor from the others."""
    with real.server(tmp_path_factory.mktemp("cache"), arguments=["--on-demand"]) as running:
        yield running


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if real.CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """For others than the visitor, each in a context of their own."""
    opened = playwright.chromium.launch(**real.LAUNCH)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def visitor(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One browser profile on the disk for all tests: what Streamlit's pages are made of is compiled once."""
    context = playwright.chromium.launch_persistent_context(
        tmp_path_factory.mktemp("profile"),
        viewport={"width": 1280, "height": 800},
        color_scheme="light",
        **real.LAUNCH,
    )
    context.set_default_timeout(45_000)
    yield context
    context.close()


@pytest.fixture(scope="session")
def for_everybody(request: pytest.FixtureRequest) -> Iterator[Callable[[Page], None]]:
    """Look at a page as a journey has left it. When all journeys are over, every page must have been looked at."""
    looked: set[str] = set()

    def look(page: Page) -> None:
        looked.add(access.name_of(page))
        assert access.problems(page) == []
        expect(page.get_by_test_id("stException")).to_have_count(0)

    yield look
    session = request.session
    whole = {item.path for item in session.items} >= set(Path(__file__).parent.glob("test_*.py"))
    if whole and not session.config.option.keyword and not session.testsfailed:
        assert looked == access.PAGES


@pytest.fixture
def page(visitor: BrowserContext) -> Iterator[Page]:
    opened = visitor.new_page()
    opened.errors = []  # type: ignore[attr-defined]
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))  # type: ignore[attr-defined]
    yield opened
    assert opened.errors == []  # type: ignore[attr-defined]
    opened.close()
