"""What the browser tests do about a machine without a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.setup_browser import NAMES, OF_DEBIAN, OF_PLAYWRIGHT, Machine, set_up


class Fake:
    """A machine on which `working` commands end well, and each brings the Chromium that it installs."""

    def __init__(self, folder: Path, *working: Sequence[str], tools: Sequence[str] = (), root: bool = False) -> None:
        self.own, self.commands = folder / "chrome", list[Sequence[str]]()
        self.tools, self.working = set(tools), [tuple(command) for command in working]
        self.machine = Machine(self.which, lambda: str(self.own), self.run, root)

    def which(self, name: str) -> str | None:
        return f"/bin/{name}" if name in self.tools else None

    def run(self, command: Sequence[str]) -> bool:
        if command[1:] == ("--version",):
            return not command[0].startswith("/bin/") or Path(command[0]).name not in self.broken
        self.commands.append(tuple(command))
        if tuple(command) not in self.working:
            return False
        if command == OF_PLAYWRIGHT:
            self.own.touch()
        elif command == OF_DEBIAN[-1]:
            self.tools.add("chromium")
        return True

    broken: tuple[str, ...] = ()


@pytest.mark.parametrize("name", NAMES)
def test_a_chromium_that_is_there_is_used_and_nothing_is_installed(name: str, tmp_path: Path) -> None:
    fake = Fake(tmp_path, OF_PLAYWRIGHT, *OF_DEBIAN, tools=["apt-get", name], root=True)
    assert set_up(fake.machine) == f"/bin/{name}" and fake.commands == []


def test_what_playwright_installed_before_is_used(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    fake.own.touch()
    assert set_up(fake.machine) == str(fake.own) and fake.commands == []


def test_playwright_is_asked_before_the_package_manager(tmp_path: Path) -> None:
    fake = Fake(tmp_path, OF_PLAYWRIGHT, *OF_DEBIAN, tools=["apt-get"], root=True)
    assert set_up(fake.machine) == str(fake.own) and fake.commands == [OF_PLAYWRIGHT]


def test_without_its_download_root_on_debian_installs_the_package(tmp_path: Path) -> None:
    fake = Fake(tmp_path, *OF_DEBIAN, tools=["apt-get"], root=True)
    assert set_up(fake.machine) == "/bin/chromium" and fake.commands == [OF_PLAYWRIGHT, *OF_DEBIAN]


def test_a_chromium_that_does_not_start_is_none(tmp_path: Path) -> None:
    fake = Fake(tmp_path, *OF_DEBIAN, tools=["apt-get", "google-chrome"], root=True)
    fake.broken = ("google-chrome",)
    assert set_up(fake.machine) == "/bin/chromium" and fake.commands[-1] == OF_DEBIAN[-1]


@pytest.mark.parametrize(
    ("tools", "root", "command"),
    [
        (["apt-get"], False, "type: sudo apt-get install -y chromium"),
        (["apt-get"], True, "type: apt-get install -y chromium"),
        ([], True, "playwright install --with-deps chromium"),
        ([], False, "playwright install --with-deps chromium"),
    ],
)
def test_where_nothing_can_be_installed_one_line_says_what_to_type(
    tools: list[str], root: bool, command: str, tmp_path: Path
) -> None:
    fake = Fake(tmp_path, OF_DEBIAN[0], tools=tools, root=root)
    with pytest.raises(SystemExit) as failed:
        set_up(fake.machine)
    said = str(failed.value)
    assert said.endswith(command) and "\n" not in said
    asked = [OF_PLAYWRIGHT, *OF_DEBIAN] if root and tools else [OF_PLAYWRIGHT]
    assert fake.commands == asked, "only root installs packages"
