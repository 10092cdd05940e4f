"""Downloads from a server that misbehaves, or from two visitors at once: whole and checked, or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reflow_core.errors import Cancelled, ReflowError
from reflow_core.networks import fetch as downloads
from reflow_core.networks.fetch import LIMITS, PART, fetch, remove_part_files
from tests.waiting import until

CONTENT = bytes(range(256)) * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT by path: /whole, /short, /stalled, /endless, /held (until let), /linked (elsewhere, by hash)."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let, self.ended = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                with contextlib.suppress(OSError):
                    outer.answer(self)

            def log_message(self, format: str, *arguments: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        kind = to.path.strip("/").split(".")[0]
        if kind.startswith("linked"):
            to.send_response(302)
            to.send_header("Location", "/whole.bin")
            to.send_header("X-Linked-ETag", f'"{SHA if kind == "linked" else "0" * 64}"')
            to.end_headers()
            return
        to.send_response(200)
        if kind != "endless":
            to.send_header("Content-Length", str(len(CONTENT)))
        to.end_headers()
        to.wfile.write(CONTENT if kind == "whole" else CONTENT[: len(CONTENT) // 2])
        to.wfile.flush()
        if kind in ("held", "stalled"):
            (self.let if kind == "held" else self.ended).wait(60)
            to.wfile.write(CONTENT[len(CONTENT) // 2 :])
        while kind == "endless":
            to.wfile.write(CONTENT)


@pytest.fixture
def server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.let.set()
    opened.ended.set()
    opened.http.shutdown()
    opened.http.server_close()


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "most", None)
    monkeypatch.setattr(LIMITS, "least_free", 0)


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_two_that_want_one_file_get_it_by_one_download(server: Server, tmp_path: Path) -> None:
    """Both wrote into one partial file: the one that ended first moved it away from the other."""
    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as threads:
        url, target = f"{server.address}/held.bin", tmp_path / "w.bin"
        first = threads.submit(fetch, url, target, SHA, len(CONTENT))
        assert until(lambda: bool(server.asked))
        second = threads.submit(fetch, url, target, SHA, len(CONTENT), lambda *state: seen.append(state[1:]))
        assert until(lambda: bool(seen) and not target.exists()), "it follows the other's progress"
        server.let.set()
        assert first.result(60).read_bytes() == second.result(60).read_bytes() == CONTENT
    assert server.asked == ["/held.bin"] and left(tmp_path) == ["w.bin"]


def test_where_the_first_gives_up_the_second_takes_over(server: Server, tmp_path: Path) -> None:
    leaves, waits = threading.Event(), threading.Event()

    def watch(stage: str, done: int, total: int) -> None:
        if leaves.wait(60):
            raise Cancelled

    with ThreadPoolExecutor(2) as threads:
        url, target = f"{server.address}/whole.bin", tmp_path / "w.bin"
        first = threads.submit(fetch, url, target, SHA, len(CONTENT), watch)
        assert until(lambda: bool(server.asked))
        second = threads.submit(fetch, url, target, SHA, len(CONTENT), lambda *state: waits.set())
        assert waits.wait(60)
        leaves.set()
        with pytest.raises(Cancelled):
            first.result(60)
        assert second.result(60).read_bytes() == CONTENT
    assert left(tmp_path) == ["w.bin"]


@pytest.mark.parametrize(
    ("path", "sha256", "said"),
    [("short.bin", "", "sent 128,000 of 256,000 bytes"), ("stalled.bin", "", "sent nothing for"),
     ("endless.bin", "", "larger than"), ("whole.bin", "0" * 8, "has SHA-256"), ("linked-wrong.bin", "", "has SHA-256"),
     ("bad name.bin", "", "try again")],
)  # fmt: skip
def test_what_comes_broken_is_said_and_not_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, sha256: str, said: str
) -> None:
    """Without a known hash half a file was kept as if it were whole."""
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(downloads, "SLACK", 1 << 20)
    with pytest.raises(ReflowError, match=said):
        fetch(f"{server.address}/{path}", tmp_path / "w.bin", sha256, len(CONTENT))
    assert left(tmp_path) == []


def test_the_hash_that_the_hub_says_in_its_redirect_is_checked(server: Server, tmp_path: Path) -> None:
    assert fetch(f"{server.address}/linked.bin", tmp_path / "w.bin", "", 0).read_bytes() == CONTENT


def test_a_broken_file_at_the_target_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(CONTENT[:100])
    assert fetch(f"{server.address}/whole.bin", tmp_path / "w.bin", SHA[:8], len(CONTENT)).read_bytes() == CONTENT
    fetch(f"{server.address}/whole.bin", tmp_path / "w.bin", SHA[:8], len(CONTENT))
    assert server.asked == ["/whole.bin"], "a whole one is not"


def test_the_quota_and_the_floor_of_free_disk_are_said_before_a_byte_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.address}/whole.bin"
    monkeypatch.setattr(LIMITS, "least_free", 1 << 60)
    with pytest.raises(ReflowError, match="free some space"):
        fetch(url, tmp_path / "w.bin", SHA, len(CONTENT))
    monkeypatch.setattr(LIMITS, "least_free", 0)
    monkeypatch.setattr(LIMITS, "most", 2 * len(CONTENT))
    fetch(url, tmp_path / "1.bin", SHA, len(CONTENT))
    fetch(url, tmp_path / "2.bin", SHA, len(CONTENT))
    with pytest.raises(ReflowError, match="--downloads-gb"):
        fetch(url, tmp_path / "3.bin", SHA, len(CONTENT))
    assert left(tmp_path) == ["1.bin", "2.bin"]


def test_a_killed_download_leaves_a_part_that_the_next_start_removes(server: Server, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from reflow_core.networks.fetch import fetch\n"
    script += f"fetch('{server.address}/held.bin', Path(sys.argv[1]) / 'w.bin', '', 1)\n"
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    assert until(lambda: bool(server.asked))
    assert until(lambda: (tmp_path / f"w.bin{PART}").exists())
    assert remove_part_files(tmp_path) == [], "it lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / f"v.th.{os.getpid()}.part").write_text("of an earlier version")
    assert len(remove_part_files(tmp_path)) == 2 and left(tmp_path) == []
