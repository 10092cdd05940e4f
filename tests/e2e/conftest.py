"""One server and one browser for all journeys; skipped with a reason where no Chromium is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e import browser as real

expect.set_options(timeout=45_000)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real.server(tmp_path_factory.mktemp("cache")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if real.CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with real.browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(45_000)
    opened = context.new_page()
    opened.errors = []  # type: ignore[attr-defined]
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))  # type: ignore[attr-defined]
    yield opened
    assert opened.errors == []  # type: ignore[attr-defined]
    context.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    folder = real.ROOT / "test-artifacts"
    folder.mkdir(exist_ok=True)
    return folder
