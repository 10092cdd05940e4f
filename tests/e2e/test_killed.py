"""What is killed in the middle of an upload: the server, the process that reads the file, the visitor's connection.

Nothing of the upload is left, after the next start at the latest, and no result that was stored is lost.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from tests import hostile
from tests.e2e.browser import Running, server
from tests.e2e.test_journeys import SMALL
from tests.e2e.visitor import Visitor
from tests.waiting import PATIENCE_S, until

T = TypeVar("T")
SEED = 7  # of the result that must survive
SLOW = {  # what a reader is busy with for seconds, by page and label
    ("", "Weights for resnet20-digits", "a.pt"): hostile.nested_keys(60),
    ("", "Images", "a.zip"): hostile.pictures(
        *(hostile.stored(f"test/3/{number}w.png", hostile.wall(8192, 8192)) for number in range(100))
    ),
    ("", "Images", "a.npz"): hostile.npz_of_zeros(160_000),
    ("open_a_report", "Report (HTML)", "a.html"): hostile.many_rows(3_000_000),
    ("slices_and_gate", "Columns (CSV)", "a.csv"): hostile.text_of(4 << 20).replace(b"x", b",").replace(b"y", b"\n"),
}


def in_a_loop_of_its_own(work: Coroutine[Any, Any, T]) -> T:
    """What it gives; Playwright's loop runs in this thread."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


@contextmanager
def lab(folder: Path) -> Iterator[Running]:
    """A server that keeps results and temporary files in the folder."""
    settings = {"TMPDIR": str(folder / "tmp")}
    with server(folder, environment=settings, arguments=["--on-demand"], at_once=True) as address:
        yield address


def left(folder: Path) -> list[str]:
    """Files of visits that lie in the temporary folder, and what is half written beside the results."""
    files = [file for _, _, names in os.walk(folder / "tmp") for file in names]  # passes over what vanishes
    return [*files, *(file for _, _, names in os.walk(folder) for file in names if file.endswith(".part"))]


def workers(folder: Path) -> list[int]:
    """The processes that read files now."""
    found = []
    for place in (folder / "tmp").glob("reflow-reading-*/process"):
        with suppress(OSError, ValueError):
            found.append(int(place.read_text()))
    return [process for process in found if alive(process)]


def alive(process: int) -> bool:
    with suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return False


def stored(folder: Path) -> dict[str, bytes]:
    """Every result by its key. The file must be whole."""
    with closing(sqlite3.connect(folder / "results.sqlite")) as results:
        assert results.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(results.execute("SELECT key, content FROM results"))


async def page(address: str, name: str = "", query: str = SMALL) -> Visitor:
    visitor, _ = await Visitor.opened(address, query, name)
    await visitor.until(lambda: visitor.runs > 0, PATIENCE_S)
    return visitor


async def one_each(address: str, folder: Path) -> list[Visitor]:
    """A visitor for each kind of file, whose file is being read, or waits for its turn."""
    visitors = []
    for (name, label, file), content in SLOW.items():
        visitor = await page(address, name)
        await visitor.upload(label, file, content)
        visitors.append(visitor)
    async with asyncio.timeout(PATIENCE_S):
        while not workers(folder):
            await asyncio.sleep(0.02)
    return visitors


def half_a_file(address: str, visitor: Visitor) -> socket.socket:
    """A connection on which half of an upload has arrived."""
    place = urlsplit(address)
    opened = socket.create_connection((str(place.hostname), place.port or 0))
    token = visitor.http.headers["X-Xsrftoken"]
    lines = [
        f"PUT /_stcore/upload_file/{visitor.session}/half HTTP/1.1",
        f"Host: {place.netloc}",
        f"X-Xsrftoken: {token!s}",
        f"Cookie: _streamlit_xsrf={token!s}",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {20 << 20}",
    ]
    start = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.pt"\r\n\r\n'
    opened.sendall(("\r\n".join(lines) + "\r\n\r\n" + start).encode() + bytes(10 << 20))
    return opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_a_killed_server_leaves_nothing_once_it_is_started_again_and_loses_no_result(folder: Path) -> None:
    async def interrupt(address: Running) -> Mapping[str, Any]:
        first = await page(address, query=f"{SMALL}&seed={SEED}")
        exact = first.scope["exact"]
        visitors = await one_each(address, folder)
        with half_a_file(address, first):
            reading = workers(folder)
            assert left(folder) and reading
            address.process.send_signal(signal.SIGKILL)
            address.process.wait()
        for process in reading:
            assert until(lambda: not alive(process))  # noqa: B023
        for visitor in (first, *visitors):
            with suppress(Exception):
                await visitor.leave()
        return dict(exact)

    async def look(address: Running) -> Mapping[str, Any]:
        again = await page(address, query=f"{SMALL}&seed={SEED}")
        exact = dict(again.scope["exact"])
        await again.leave()
        return exact

    with lab(folder) as address:
        before = in_a_loop_of_its_own(interrupt(address))
    results = stored(folder)
    with lab(folder) as address:
        after = in_a_loop_of_its_own(look(address))
        assert until(lambda: left(folder) == [])
        assert not [*(folder / "tmp").glob("reflow-*")]
        assert stored(folder).items() >= results.items() and after == before and results


def test_a_killed_reader_or_connection_leaves_nothing_while_the_server_lives(folder: Path) -> None:
    async def readers(address: Running) -> None:
        """Every reader is killed until each visitor has been told a sentence, and none an exception."""
        visitors = await one_each(address, folder)
        async with asyncio.timeout(PATIENCE_S):
            while not all(visitor.errors for visitor in visitors):
                for process in workers(folder):
                    with suppress(OSError):
                        os.kill(process, signal.SIGKILL)
                await asyncio.sleep(0.02)
        assert [visitor.problems for visitor in visitors] == [[]] * len(visitors)
        for visitor in visitors:
            assert "was not read" in visitor.errors[-1], visitor.errors
            await visitor.leave()

    async def connections(address: Running) -> None:
        """The browser dies: no word of it comes over the wire but the end of the connection."""
        visitors = await one_each(address, folder)
        half_a_file(address, visitors[0]).close()
        for visitor in visitors:
            visitor._stop_polling(list(visitor._polling))
            visitor.socket.transport.abort()
            visitor.http.close()

    with lab(folder) as address:
        in_a_loop_of_its_own(readers(address))
        assert until(lambda: left(folder) == [] and workers(folder) == [])
        in_a_loop_of_its_own(connections(address))
        assert until(lambda: left(folder) == [] and workers(folder) == [])
        assert "Traceback" not in (folder / "server.log").read_text()
