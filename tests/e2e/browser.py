"""A real server and a real browser: the two things every journey needs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.e2e.setup_browser import executable
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent.parent
OFF = ("gpu", "background-networking", "component-update", "sync", "quic")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in OFF)]
AT_ONCE = """
from reflow_core.diagnosis import preflight
from reflow_core.lab import pool
from reflow_core.production import service, timing
from reflow_core.production.inspections import hardware
pool.QUIET_S, pool.lowest_priority, pool.cores = 0.0, lambda: None, lambda: 1
preflight.WARM_UP_S = 60.0
timing.MOST_S, timing.LEAST, timing.WARM_UP, hardware.KERNEL_S = 0.0, 2, 1, 0.0
service.ENOUGH_S = 0.0
"""
SERVE = """
import faulthandler, signal
from streamlit.web.cli import main
faulthandler.register(signal.SIGUSR1)  # whoever asks is told in the log what each thread does
main()
"""


def launching() -> dict[str, Any]:
    """How a browser is launched. To be asked for before Playwright is started."""
    return {"executable_path": executable(), "args": FLAGS}


class Running(str):
    """The address of a server that runs in `process` and writes to `log`."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """The end of its log, and what each of its threads does now."""
        told = len(self.log.read_text())
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: "most recent call first" in self.log.read_text()[told:])
        return self.log.read_text()[-20_000:]


@contextmanager
def server(
    cache: Path,
    script: Path = ROOT / "app.py",
    environment: dict[str, str] | None = None,
    arguments: Sequence[str] = (),
    at_once: bool = False,
    first: str = "",
) -> Iterator[Running]:
    """Streamlit on a free loopback port with its own cache folder; yields its address.

    `arguments`: the script's. `at_once`: the background work, which elsewhere leaves the machine to people, rests for
    nobody, a thread computes on one core, timings are of a few rounds, and the warm-up of a price takes its time, so
    that no price is said that only a busy machine has. `first`: code that the server's process runs before all else.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = os.environ | {"REFLOW_CACHE": str(cache), "TORCH_HOME": str(cache / "torch")} | (environment or {})
    variables |= {"OMP_NUM_THREADS": "1"} if at_once else {}
    code = first + (AT_ONCE if at_once else "") + SERVE
    command = [sys.executable, "-c", code, "run", str(script), "--server.port", str(port)]
    command += ["--server.fileWatcherType", "none", "--server.address", "127.0.0.1", "--server.headless", "true"]
    command += ["--", *arguments]
    log = (cache / "server.log").open("w")
    folder = script.parent if (script.parent / ".streamlit").exists() else ROOT  # whose settings count
    process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
    address = Running(f"http://127.0.0.1:{port}")
    address.process, address.log = process, cache / "server.log"
    try:
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    def up() -> bool:
        assert process.poll() is None, "the server ended"
        health = f"{address}/_stcore/health"
        with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(health) as told:
            return bool(told.status == 200)
        return False

    until(up, every=0.1)


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium of the system."""
    launch = launching()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(**launch)
        yield opened
        opened.close()
