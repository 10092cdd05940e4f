"""One server and one browser for all journeys."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, expect, sync_playwright

from tests.e2e import access
from tests.e2e import browser as real
from tests.e2e.setup_browser import executable

expect.set_options(timeout=45_000)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Sweeps begin when a test asks for one: what nobody waits for would only take the processor from the others."""
    with real.server(tmp_path_factory.mktemp("cache"), arguments=["--on-demand"], at_once=True) as running:
        yield running


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if executable() is None:
        pytest.fail("No Chromium on this machine; type: make browser", pytrace=False)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def other(playwright: Playwright) -> Iterator[BrowserContext]:
    """Another person's browser, which shares nothing with the visitor's."""
    opened = playwright.chromium.launch(**real.launching())
    context = opened.new_context()
    context.set_default_timeout(45_000)
    yield context
    opened.close()


@pytest.fixture(scope="session")
def visitor(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One browser profile on the disk for all tests: what Streamlit's pages are made of is compiled once."""
    context = playwright.chromium.launch_persistent_context(
        tmp_path_factory.mktemp("profile"),
        viewport={"width": 1280, "height": 800},
        color_scheme="light",
        **real.launching(),
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what the server was doing."""
    report = yield
    at = getattr(item, "funcargs", {}).get("address")
    if report.failed and isinstance(at, real.Running) and at.process.poll() is None:
        report.sections.append(("server", at.said()))
    return report


AS_AT_FIRST = """try {  // a sidebar that another test has closed is open again
  Object.keys(localStorage).filter((key) => /sidebar/i.test(key)).forEach((key) => localStorage.removeItem(key));
} catch {}"""


@contextmanager
def tab(visitor: BrowserContext) -> Iterator[Page]:
    """A page of the visitor's on which no script may fail."""
    opened, errors = visitor.new_page(), list[str]()
    opened.add_init_script(AS_AT_FIRST)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    assert errors == []
    opened.close()


@pytest.fixture
def page(visitor: BrowserContext) -> Iterator[Page]:
    """A page of one's own."""
    with tab(visitor) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(visitor: BrowserContext) -> Iterator[Page]:
    """A page that the tests of a file use one after the other, each as the one before has left it."""
    with tab(visitor) as opened:
        yield opened
