"""What one visitor brought: kept in a folder that ends with the visit, known to nobody else."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reflow_core import numbers
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.leftovers import LockedFolder
from reflow_core.spec import UPLOAD

COPIED = 1 << 20
LONGEST = 80  # letters of a file's name that are kept


@dataclass(frozen=True, slots=True)
class Quota:
    """Bytes of files that a visit, and all visits of a server together, may keep; bytes of the disk to leave free."""

    visit: int = 1 << 30
    server: int = 8 << 30
    free: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a visitor brought, and what they call it."""

    path: Path
    name: str
    size: int


class Ledger:
    """The bytes that all visits of a server keep."""

    def __init__(self, quota: Quota = Quota()) -> None:
        self.quota, self._lock, self._kept = quota, threading.Lock(), 0

    def reserve(self, size: int, kept: int, folder: Path) -> None:
        """Count a file of so many bytes of a visit that keeps `kept`. Raises ReflowError where it is too much."""
        free = shutil.disk_usage(folder).free
        with self._lock:
            if kept + size > self.quota.visit:
                raise ReflowError(
                    f"Your files would take {_mb(kept + size)}; a visit may keep {_mb(self.quota.visit)}. Upload "
                    "a smaller file, or reload the page to start over."
                )
            if self._kept + size > self.quota.server:
                raise ReflowError(
                    f"The {_mb(self.quota.server)} for the files of all visitors are full; try again later."
                )
            if free - size < self.quota.free:
                raise ReflowError(
                    f"The server's disk has {_mb(free)} free, of which {_mb(self.quota.free)} are reserved: the "
                    f"file of {_mb(size)} does not fit. Upload a smaller one, or tell whoever runs the server."
                )
            self._kept += size

    def give_back(self, size: int) -> None:
        """Count a file no more."""
        with self._lock:
            self._kept -= size


class Uploads:
    """Files by token ("upload:" and the first digits of their SHA-256); the folder goes when this object does."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self._folder = LockedFolder("reflow-upload-")
        self._ledger, self._lock = ledger or Ledger(), threading.Lock()
        self._files: dict[str, Upload] = {}
        self._closed = False

    @property
    def folder(self) -> Path:
        """Where everything of this visit lies."""
        return self._folder.path

    def add(self, name: str, content: BinaryIO, suffixes: tuple[str, ...], keep: Collection[str] = ()) -> str:
        """Keep a file in place of others with these `suffixes`, but for those named in `keep`; returns its token.

        Of the name nothing but its ending decides anything. Raises ReflowError for another ending, and for a file that
        is more than the quota allows.
        """
        suffix = Path(name).suffix.lower()
        if suffix not in suffixes:
            raise ReflowError(
                f"{bare_name(name)!r} cannot be used here; upload a file ending in {', '.join(suffixes)}."
            )
        self._drop(suffixes, keep)
        size = content.seek(0, 2)
        content.seek(0)
        with self._lock:
            kept = sum(upload.size for upload in self._files.values())
        self._ledger.reserve(size, kept, self.folder)
        try:
            token, path = self._written(content, suffix)
        except OSError as error:
            self._ledger.give_back(size)
            raise ReflowError(f"{bare_name(name)!r} could not be saved ({error.strerror}); try again later.") from None
        with self._lock:
            if token in self._files or self._closed:
                self._ledger.give_back(size)
            else:
                self._files[token] = Upload(path, bare_name(name), size)
        return token

    def file(self, token: str) -> Upload:
        """The file of a token. Raises ReflowError for one of another visit."""
        with self._lock:
            if (upload := self._files.get(token)) is None:
                raise ReflowError(f"{token} belongs to another visit or was replaced; upload the file again.")
        return upload

    def watch(self, stage: str, done: int, total: int) -> None:
        """Raises Cancelled once the visit has ended."""
        if self._closed:
            raise Cancelled("the visit has ended")

    def close(self) -> None:
        """Delete everything now."""
        with self._lock:
            self._closed = True
            self._ledger.give_back(sum(upload.size for upload in self._files.values()))
            self._files.clear()
        self._folder.close()

    def __del__(self) -> None:
        self.close()

    def _written(self, content: BinaryIO, suffix: str) -> tuple[str, Path]:
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as kept:
            try:
                while part := content.read(COPIED):
                    digest.update(part)
                    kept.write(part)
            except OSError:
                Path(kept.name).unlink(missing_ok=True)
                raise
        token = digest.hexdigest()[:16]
        path = Path(kept.name).replace(self.folder / f"{token}{suffix}")
        return UPLOAD + token, path

    def _drop(self, suffixes: tuple[str, ...], keep: Collection[str]) -> None:
        """Delete the files that a new one replaces."""
        with self._lock:
            replaced = [
                token
                for token, upload in self._files.items()
                if upload.path.suffix in suffixes and not any(token in name for name in keep)
            ]
            for token in replaced:
                upload = self._files.pop(token)
                upload.path.unlink(missing_ok=True)
                self._ledger.give_back(upload.size)


def bare_name(name: str) -> str:
    """A file's name as its owner calls it, without folders."""
    bare = name.replace("\\", "/").rpartition("/")[2] or name
    return bare if len(bare) <= LONGEST else f"{bare[: LONGEST // 2]}…{bare[-LONGEST // 2 :]}"


def _mb(size: int) -> str:
    return numbers.size(size)
