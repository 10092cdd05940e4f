"""Zip files of pictures: unpacked only after every entry was looked at."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath

from reflow_core.errors import ReflowError

MOST_FILES = 200_000
MOST_BYTES = 4 << 30
MOST_RATIO = 200  # pictures hardly shrink; a bomb is a thousand times its size
COPIED = 1 << 20


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip file's pictures into an empty folder; returns where its classes begin.

    Raises ReflowError, with nothing unpacked, for what is no zip file, for entries that leave the folder, are links or
    encrypted, and for more files or bytes than pictures of a class room have.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir() and not _of_no_use(entry.filename)]
            _check(archive, entries)
            for entry in entries:
                _extract(opened, entry, folder)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise ReflowError(f"{archive.name!r} is not a readable zip file ({error}); pack the folder again.") from None
    return _root(folder)


def _of_no_use(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith("._") or part == ".DS_Store" for part in parts)


def _check(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES or size > MOST_BYTES:
        raise ReflowError(
            f"{archive.name!r} unpacks to {len(entries):,} files and {size / 1e9:.1f} GB; at most {MOST_FILES:,} files "
            f"and {MOST_BYTES / 1e9:.1f} GB are taken."
        )
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise ReflowError(f"{archive.name!r} was refused: its entry {entry.filename!r} leaves the folder.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ReflowError(f"{archive.name!r} holds a link ({entry.filename!r}); pack the files themselves.")
        if entry.flag_bits & 1:
            raise ReflowError(f"{archive.name!r} is encrypted; pack it without a password.")
        if entry.file_size > MOST_RATIO * max(entry.compress_size, 1) and entry.file_size > COPIED:
            raise ReflowError(
                f"{archive.name!r} was refused: {entry.filename!r} unpacks to {MOST_RATIO} times its size."
            )


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """At most as many bytes as the entry says it has: its header may lie."""
    target = folder.joinpath(*PurePosixPath(entry.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with opened.open(entry) as source, target.open("wb") as sink:
        while part := source.read(min(COPIED, left + 1)):
            left -= len(part)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename} is longer than it says")
            sink.write(part)


def _root(folder: Path) -> Path:
    """The folder itself, or the single folder in it that holds everything, as most programs pack."""
    inside = list(folder.iterdir())
    only = inside[0] if len(inside) == 1 and inside[0].is_dir() else None
    return _root(only) if only is not None and any(each.is_dir() for each in only.iterdir()) else folder
