"""What a killed process left in the temporary folder goes at the next start; what a living one uses stays."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reflow_core.leftovers import LockedFolder, remove_leftovers, remove_tree

HOLDER = (
    "import sys; from reflow_core.leftovers import LockedFolder\n"
    "folder = LockedFolder('reflow-upload-'); (folder.path / 'file').write_bytes(b'x' * 1000)\n"
    "print(folder.path, flush=True); sys.stdin.readline()\n"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def holder(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a folder until a line reaches it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env=os.environ | {"TMPDIR": str(folder)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_killed_process_leaves_a_folder_that_the_next_start_removes_and_a_living_ones_stays(temporary: Path) -> None:
    killed, left = holder(temporary)
    living, used = holder(temporary)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left.is_dir() and used.is_dir()
    assert remove_leftovers() == [left]
    assert not left.exists() and (used / "file").is_file()
    living.communicate("end\n", timeout=30)
    assert not used.exists(), "a process that ends takes its folder along"


def test_a_folder_ends_with_its_object_and_with_close() -> None:
    one, two = LockedFolder("reflow-"), LockedFolder("reflow-upload-")
    paths = one.path, two.path
    (two.path / "inside").mkdir()
    assert remove_leftovers() == [] and all(path.is_dir() for path in paths), "locked in the same process too"
    two.close()
    two.close()
    del one
    gc.collect()
    assert not any(path.exists() for path in paths)


def test_folders_of_others_and_by_other_names_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "reflow-lab").mkdir()  # somebody's own, perhaps the checkout
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / "reflow-link.locked").symlink_to(elsewhere)
    assert remove_leftovers() == []
    (temporary / "reflow-theirs.locked").mkdir()
    me = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: me + 1)
    assert remove_leftovers() == []
    monkeypatch.undo()
    assert len(list(temporary.iterdir())) == 4


@pytest.mark.parametrize("depth", [3, 2_500])
def test_a_tree_is_removed_however_deep_and_whatever_its_modes(temporary: Path, depth: int) -> None:
    """`shutil.rmtree` ends in a RecursionError below a thousand levels, and leaves them all there."""
    (kept := temporary / "kept").write_text("outside")
    top = temporary / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=here)
        os.symlink(kept, "link", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.fchmod(here, 0o500)
    os.close(here)
    assert remove_tree(top) and not top.exists()
    assert kept.read_text() == "outside"


def test_two_servers_that_start_at_once_remove_a_folder_once_and_never_a_new_one(temporary: Path) -> None:
    """Folders are made while others look for dead ones: none is taken in the moment before it is locked."""
    ended, removed = threading.Event(), list[Path]()

    def sweep() -> None:
        while not ended.is_set():
            removed.extend(remove_leftovers())

    sweepers = [threading.Thread(target=sweep) for _ in range(3)]
    for sweeper in sweepers:
        sweeper.start()
    for _ in range(200):
        with LockedFolder("reflow-") as path:
            (path / "file").write_text("here")
            assert (path / "file").read_text() == "here"
    ended.set()
    for sweeper in sweepers:
        sweeper.join()
    assert not list(temporary.iterdir())
