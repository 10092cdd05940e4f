"""What one visitor brought: kept in a folder that ends with the visit, known to nobody else."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from reflow_core.errors import ReflowError
from reflow_core.spec import UPLOAD

COPIED = 1 << 20


class Uploads:
    """Files by token ("upload:" and the first digits of their SHA-256); the folder goes when this object does."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="reflow-upload-")

    @property
    def folder(self) -> Path:
        """Where everything of this visit lies."""
        return Path(self._folder.name)

    def add(self, name: str, content: BinaryIO, suffixes: tuple[str, ...]) -> str:
        """Keep a file; returns its token. Of the name nothing but its ending is used. Raises ReflowError."""
        suffix = Path(name).suffix.lower()
        if suffix not in suffixes:
            raise ReflowError(f"{name!r} is of no use here; bring a file ending in {', '.join(suffixes)}.")
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as kept:
            while part := content.read(COPIED):
                digest.update(part)
                kept.write(part)
        token = digest.hexdigest()[:16]
        Path(kept.name).replace(self.folder / f"{token}{suffix}")
        return UPLOAD + token

    def path(self, token: str) -> Path:
        """The file of a token. Raises ReflowError for one of another visit."""
        matches = [file for file in self.folder.iterdir() if file.stem == token.removeprefix(UPLOAD) and file.is_file()]
        if not matches:
            raise ReflowError(f"{token} is not of this visit, or the visit has ended; bring the file again.")
        return matches[0]

    def close(self) -> None:
        """Delete everything now."""
        shutil.rmtree(self.folder, ignore_errors=True)
