"""Zip files of pictures, read where they lie: nothing is unpacked to the disk."""

from __future__ import annotations

import functools
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from reflow_core import numbers
from reflow_core.errors import ReflowError
from reflow_core.images.folder import PARTS, SUFFIXES, Tree

MOST_FILES = 200_000
MOST_BYTES = 4 << 30
MOST_RATIO = 200  # pictures hardly shrink; a bomb is a thousand times its size
SPARED = 1 << 20  # bytes that any zip may unpack to: small drawings do shrink
DEEPEST = 16  # folders around a picture


@contextmanager
def pictures_in(archive: Path, name: str) -> Iterator[Tree]:
    """The pictures of a zip file by their place in it, to be read within the body.

    `name`: what its owner calls the file. Raises ReflowError for what is no zip file, for entries that leave the
    folder, are links or encrypted, and for more files or bytes than the pictures of a class room have.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if _is_picture(entry)]
            _check_size(entries, archive.stat().st_size, name)
            tree = {_parts(entry, name): functools.partial(opened.open, entry) for entry in entries}
            yield _unwrapped({parts: opening for parts, opening in tree.items() if len(parts) <= DEEPEST})
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, NotImplementedError, EOFError, UnicodeError):
        raise ReflowError(f"{name!r} is not a readable zip file; pack the folder again.") from None


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is to be read; all else in a zip file is left alone."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    return not entry.is_dir() and path.suffix.lower() in SUFFIXES and not (
        "__MACOSX" in path.parts or path.name.startswith("._")
    )  # fmt: skip


def _check_size(entries: list[zipfile.ZipInfo], packed: int, name: str) -> None:
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES or size > MOST_BYTES:
        raise ReflowError(
            f"{name!r} unpacks to {len(entries):,} files and {numbers.size(size)}; at most {MOST_FILES:,} files "
            f"and {numbers.size(MOST_BYTES)} are allowed."
        )
    if size > MOST_RATIO * packed and size > SPARED:
        raise ReflowError(f"{name!r} was refused: it unpacks to more than {MOST_RATIO} times its size.")


def _parts(entry: zipfile.ZipInfo, name: str) -> tuple[str, ...]:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise ReflowError(f"{name!r} was refused: its entry {entry.filename!r} leaves the folder.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ReflowError(f"{name!r} contains a link ({entry.filename!r}); pack the files themselves.")
    if entry.flag_bits & 1:
        raise ReflowError(f"{name!r} is encrypted; pack it without a password.")
    return path.parts


def _unwrapped(tree: Tree) -> Tree:
    """Without the single folder around everything, as most programs pack."""
    first = {parts[0] for parts in tree}
    if len(first) == 1 and not first & set(PARTS) and any(len(parts) > 2 for parts in tree):
        return _unwrapped({parts[1:]: opening for parts, opening in tree.items() if len(parts) > 1})
    return tree
