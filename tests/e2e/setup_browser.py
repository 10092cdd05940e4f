"""`python -m tests.e2e.setup_browser`: a Chromium for the browser tests, the one that is there or a new one."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
OF_PLAYWRIGHT = (sys.executable, "-m", "playwright", "install", "chromium")
OF_DEBIAN = (("apt-get", "update", "-qq"), ("apt-get", "install", "-y", "-qq", "chromium"))
BY_APT = "apt-get install -y chromium"
BY_PLAYWRIGHT = f"{sys.executable} -m playwright install --with-deps chromium"


@dataclass(frozen=True)
class Machine:
    """Where a Chromium is looked for, what runs a command (True: it ended well), and who asks."""

    which: Callable[[str], str | None]
    playwrights: Callable[[], str]
    run: Callable[[Sequence[str]], bool]
    root: bool

    def chromium(self) -> str | None:
        """The path of the first Chromium that starts: one on the PATH, else the one that Playwright installed."""
        return next((path for path in self._places() if self.run((path, "--version"))), None)

    def _places(self) -> Iterator[str]:
        yield from filter(None, map(self.which, NAMES))
        if Path(own := self.playwrights()).is_file():
            yield own


def set_up(machine: Machine) -> str:
    """The path of a Chromium, installed where there is none. Raises SystemExit with the command to type."""
    if path := machine.chromium():
        return path
    if machine.run(OF_PLAYWRIGHT) and (path := machine.chromium()):
        return path
    debian = machine.which("apt-get") is not None
    if debian and machine.root and all(map(machine.run, OF_DEBIAN)) and (path := machine.chromium()):
        return path
    by_hand = BY_PLAYWRIGHT if not debian else BY_APT if machine.root else f"sudo {BY_APT}"
    raise SystemExit(f"The browser tests need a Chromium, and none could be installed; type: {by_hand}")


def this_machine() -> Machine:
    """The one that this process runs on."""
    return Machine(shutil.which, _playwrights, _run, root=hasattr(os, "geteuid") and os.geteuid() == 0)


@functools.cache
def executable() -> str | None:
    """The path of this machine's Chromium. To be asked for before Playwright is started."""
    return this_machine().chromium()


def _playwrights() -> str:
    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def _run(command: Sequence[str]) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


if __name__ == "__main__":
    print(f"Browser tests use {set_up(this_machine())}")
