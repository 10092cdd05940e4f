"""Links from anywhere in a real browser: their words are shown, nothing in them is fetched, followed or run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_journeys import SMALL


@pytest.fixture
def beacon() -> Iterator[tuple[str, list[str]]]:
    """A stranger's server: its address, and what was asked of it."""
    asked: list[str] = []

    class Beacon(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Beacon)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def words(home: str) -> list[str]:
    """What would act if it were markdown; each is shown to its last letter."""
    return [
        f"![x]({home}/image)",
        f"[click]({home}/link)",
        f"<img src={home}/html>",
        f"{home}/plain me@evil.example www.evil.example",
        ":red[red] :material/delete: :smile: $x^2$ `code` **bold** ~gone~",
    ]


def test_a_links_words_are_words(page: Page, address: str, beacon: tuple[str, list[str]]) -> None:
    home, asked = beacon
    shown = page.get_by_test_id("stAlert")
    for text in words(home):
        for query, path in (
            ({"seed": text}, ""),
            ({"layer": text}, ""),
            ({"a": urlencode({"seed": text})}, "ab"),
            ({"floors": text}, "slices_and_gate"),
        ):
            page.goto(f"{address}/{path}?{urlencode(query, quote_via=quote)}&{SMALL}")
            expect(shown.first).to_be_visible()
            page.wait_for_function("document.querySelector('[data-test-script-state=notRunning]')")
            alerts = [alert.replace("\u2060", "") for alert in shown.all_inner_texts()]
            assert any(text[:50] in alert for alert in alerts), (text, alerts)
            acting = shown.locator(f"img, a, code, strong, del, .katex, a[href*='{home}'], span[style*=color]")
            icons = shown.locator("[data-testid=stMarkdownContainer] [data-testid=stIconMaterial]")
            expect(acting).to_have_count(0)
            expect(icons).to_have_count(0)
    assert asked == []
