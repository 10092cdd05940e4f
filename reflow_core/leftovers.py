"""What is on the disk only while a process lives: a lock tells the next process the living from the dead.

A process number is used again and means another process in another container; a lock of the kernel (flock) ends with
the process that holds it, however it ended. Where a file system knows no locks, nothing is taken for dead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a folder that is in use cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

PREFIX, SUFFIX = "reflow-", ".locked"  # of the names of folders that only this module makes


class LockedFolder:
    """A new folder `inside` another, deleted by `close`, with this object, or when the process ends.

    `prefix`: begins its name, "reflow-" or longer. `inside`: else the temporary folder. Where the process is killed,
    `remove_leftovers` of the next one deletes it. Raises OSError where none can be made.
    """

    def __init__(self, prefix: str = PREFIX, inside: Path | None = None) -> None:
        assert prefix.startswith(PREFIX)
        self.path, lock = _locked_folder(prefix, inside)
        self._finish = weakref.finalize(self, _end, self.path, lock, os.getpid())

    def close(self) -> None:
        """Delete it now, with all that is in it."""
        self._finish()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_leftovers(inside: Path | None = None) -> list[Path]:
    """Delete the locked folders of processes that have ended; returns those that are gone. Other users' stay.

    `inside`: the folder they lie in, else the temporary one.
    """
    folders = (inside or Path(tempfile.gettempdir())).glob(f"{PREFIX}*{SUFFIX}")
    return [folder for folder in folders if _is_own(folder) and _removed_if_dead(folder)]


def remove_dead_files(files: Iterable[Path]) -> list[Path]:
    """Delete the files that no living process has locked by `lock_of`; returns those that are gone."""
    return [file for file in files if _removed_if_dead(file)]


def lock_of(path: Path) -> int | None:
    """The lock of a file or folder that is there, as an open descriptor to be closed; None while another holds it.

    Raises OSError where it cannot be opened, or where the file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        if fcntl is None:
            raise OSError("no locks")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def remove_tree(folder: Path) -> bool:
    """Delete a folder however deep it is, links in it not followed; returns whether it is gone.

    What lies deeper than a path may be long, and than Python may recurse, is lifted up a level at a time.
    """
    pending = _emptied(folder, folder)
    while pending:
        inner = pending.pop()
        pending += _emptied(inner, folder)
        with contextlib.suppress(OSError):
            inner.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _emptied(folder: Path, top: Path) -> list[Path]:
    """Delete a folder's files; returns its folders, now directly below `top`."""
    with contextlib.suppress(OSError):
        folder.chmod(0o700)  # a folder that may not be written to cannot be emptied
    folders: list[Path] = []
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return folders
    for entry in entries:
        with contextlib.suppress(OSError):
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink()
            elif folder == top:
                folders.append(Path(entry.path))
            else:
                Path(entry.path).chmod(0o700)
                folders.append(Path(entry.path).rename(top / secrets.token_hex(8)))
    return folders


def _locked_folder(prefix: str, inside: Path | None) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(SUFFIX, prefix, inside))
        try:
            lock = lock_of(folder)
        except FileNotFoundError:  # taken for dead in the moment between making and locking it
            continue
        except OSError:
            return folder, None
        if lock is not None and folder.exists():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _end(folder: Path, lock: int | None, process: int) -> None:
    if os.getpid() == process:  # and no fork of it
        remove_tree(folder)
    if lock is not None:
        os.close(lock)


def _is_own(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return not hasattr(os, "getuid") or status.st_uid == os.getuid()


def _removed_if_dead(path: Path) -> bool:
    try:
        lock = lock_of(path)
    except OSError:
        return False
    if lock is None:
        return False
    try:
        if path.is_dir():
            return remove_tree(path)
        path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
