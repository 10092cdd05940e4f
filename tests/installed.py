"""The wheel in a fresh environment and an empty folder: both commands run, the dashboard shows the shipped networks.

Run by `make wheel`. Nothing of the checkout is on the path of what is tested.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.e2e.visitor import Visitor
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).resolve().parent.parent
WORDS = ["diagnose", "--sparsity", "0.8", "--json"]


def main() -> None:
    """Build, install, run; raises where anything differs from what a checkout gives."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        binaries, empty = installed(place), place / "empty"
        empty.mkdir()
        environment = os.environ | {"REFLOW_CACHE": str(place / "cache"), "PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
        command = ran([str(binaries / "reflow-lab"), *WORDS], empty, environment)
        module = ran([str(binaries / "python"), "-m", "reflow_core", *WORDS], empty, environment)
        assert command == module
        assert command["dense"]["accuracy"] > 0.98 and command["repaired"]["accuracy"] > 0.9
        scope = served(str(binaries / "reflow-lab"), empty, environment)
        assert scope["exact"]["score"]["repaired"] > 0.9
        print(f"reflow-lab {version(binaries)}: both commands and the dashboard run from the wheel")


def installed(place: Path) -> Path:
    """Where the commands of a fresh environment are, into which the wheel was installed."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place, ROOT], check=True)
    (wheel,) = place.glob("reflow_lab-*.whl")
    subprocess.run([sys.executable, "-m", "venv", place / "fresh"], check=True)
    binaries = place / "fresh" / "bin"
    subprocess.run([binaries / "python", "-m", "pip", "install", "-q", wheel], check=True)
    return binaries


def ran(command: list[str], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The JSON that a command prints."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def served(command: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What the first page of the dashboard shows."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([command, "serve", "--port", str(port)], cwd=folder, env=environment)
    try:
        return asyncio.run(_first_page(f"http://127.0.0.1:{port}", process))
    finally:
        process.terminate()
        process.wait(20)


async def _first_page(address: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    def up() -> bool:
        assert process.poll() is None, "the server ended"
        with suppress(urllib.error.URLError, ConnectionError):
            return bool(urllib.request.urlopen(f"{address}/_stcore/health").status == 200)
        return False

    until(up, every=0.1)
    visitor, _ = await Visitor.opened(address)
    try:
        await visitor.until(lambda: bool(visitor.scope), PATIENCE_S)
        return visitor.scope
    finally:
        await visitor.leave()


def version(binaries: Path) -> str:
    """As the installed package says."""
    code = "import importlib.metadata; print(importlib.metadata.version('reflow-lab'))"
    done = subprocess.run([binaries / "python", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
