"""Downloads on request: with progress, checked, bounded, one at a time of each file, and no broken file is kept.

What is being downloaded is locked as long as its process lives (see `leftovers`): another thread or process that wants
the same file waits and then finds it, and what a killed one left is known by its free lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from reflow_core import numbers
from reflow_core.errors import ReflowError
from reflow_core.leftovers import lock_of, remove_dead_files
from reflow_core.watch import Watch, ignore

CHUNK = 1 << 16
TIMEOUT_S = 20.0  # without a byte
POLL_S = 0.2
SLACK = 16 << 20  # bytes that a file may have beyond 1.1 times what was expected of it
PART = ".reflow.part"
PARTS = (f"*{PART}", "*.[0-9]*.part")  # the second as earlier versions named them
SHA256 = re.compile(r'(?:W/)?"?([0-9a-f]{64})"?')


@dataclass
class Limits:
    """`most`: bytes that a folder of downloads may hold, None for any; `least_free`: bytes to be left on the disk."""

    most: int | None = None
    least_free: int = 2 << 30


LIMITS = Limits()  # of this process; a server that strangers may use sets `most`


def fetch(url: str, target: Path, sha256: str, size: int, watch: Watch = ignore) -> Path:
    """Download `url` to `target` unless it is there; `sha256` holds the first digits of the expected hash.

    Where none is known ("") that which the hub says of its file counts. A file that is there and has another hash is
    deleted and downloaded anew. `size`: expected bytes, 0 if unknown. Raises ReflowError without a network, on a full
    or read-only disk, beyond LIMITS, for a server that falls silent, sends less than it said or far more than expected,
    and where the hash differs; no part of a failed download is left behind.
    """
    try:
        if _whole(target, sha256):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target, watch, size) as part:
            if not _whole(target, sha256):  # nobody else was quicker
                target.unlink(missing_ok=True)
                _download(url, part, sha256, size, watch)
                part.replace(target)
    except urllib.error.URLError as error:
        raise ReflowError(
            f"Could not download {url} ({error.reason}); connect to the internet and try again."
        ) from None
    except TimeoutError:
        raise ReflowError(f"{_host(url)} sent nothing for {TIMEOUT_S:.0f} seconds; try again later.") from None
    except (http.client.HTTPException, ConnectionError) as error:
        raise ReflowError(f"Could not download {url} ({type(error).__name__}); try again later.") from None
    except OSError as error:
        raise ReflowError(f"Could not save {target.name} in {target.parent} ({error.strerror or error}).") from None
    return target


@contextlib.contextmanager
def alone(target: Path, watch: Watch = ignore, size: int = 0) -> Iterator[Path]:
    """A partial file for `target`, which nobody else has as long as the body runs, and which is gone after it.

    While another has it `watch` is called with how much is there. Raises OSError and what `watch` does.
    """
    part, lock = target.with_name(target.name + PART), None
    remove_part_files(target.parent)
    while (lock := _locked(part)) is None:
        with contextlib.suppress(OSError):
            done = part.stat().st_size
            watch("download", min(done, size), max(size, 1))
        time.sleep(POLL_S)
    try:
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        os.close(lock)


def remove_part_files(folder: Path) -> list[Path]:
    """Delete what downloads that were killed left in a folder; returns it."""
    return remove_dead_files(file for pattern in PARTS for file in folder.glob(pattern))


def _locked(part: Path) -> int | None:
    """The lock of the partial file, which is made if need be; None while another has it."""
    part.touch()
    try:
        lock = lock_of(part)
        if lock is None or part.stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except FileNotFoundError:  # whoever had it has just finished
        return None
    os.close(lock)
    return None


def _download(url: str, part: Path, sha256: str, size: int, watch: Watch) -> None:
    redirects = _Redirects()
    with urllib.request.build_opener(redirects).open(url, timeout=TIMEOUT_S) as answer:
        promised = int(answer.headers.get("Content-Length") or 0)
        allowed = int(1.1 * size) + SLACK if size else max(promised, SLACK)
        if promised > allowed:
            raise _too_long(url, allowed)
        _check_room(part, promised or size)
        digest, done = _stream(answer, part, allowed, promised or size, watch, url)
    if promised and done != promised:
        raise ReflowError(f"{_host(url)} sent {done:,} of {promised:,} bytes of {_name(url)}; try again.")
    expected = sha256 or redirects.sha256 or _linked(answer.headers)
    if not digest.startswith(expected):
        raise ReflowError(
            f"{_name(url)} from {url} has SHA-256 {digest[:8]}…, not {expected[:8]}…, so it was deleted; try again."
        )


class _Readable(Protocol):
    def read1(self, n: int) -> bytes: ...


def _stream(answer: _Readable, part: Path, allowed: int, total: int, watch: Watch, url: str) -> tuple[str, int]:
    """Write what comes; returns its SHA-256 and length. `read1`: what is there, so that `watch` can stop a slow one."""
    digest, done, shown = hashlib.sha256(), 0, -POLL_S
    with part.open("r+b") as file:
        file.truncate()
        while chunk := answer.read1(CHUNK):
            done += len(chunk)
            if done > allowed:
                raise _too_long(url, allowed)
            digest.update(chunk)
            file.write(chunk)
            if time.monotonic() - shown > POLL_S:
                shown = time.monotonic()
                watch("download", min(done, total), max(total, 1))
    watch("download", done, max(done, 1))
    return digest.hexdigest(), done


def _check_room(part: Path, size: int) -> None:
    """Raises ReflowError where so many more bytes are too many for the folder or the disk."""
    free = shutil.disk_usage(part.parent).free
    if free - size < LIMITS.least_free:
        raise ReflowError(
            f"{numbers.size(size)} more would leave less than {numbers.size(LIMITS.least_free)} of the disk free "
            f"({numbers.size(free)} are free now); free some space."
        )
    if LIMITS.most is None:
        return
    held = sum(file.stat().st_size for file in part.parent.iterdir() if file.is_file() and file != part)
    if held + size > LIMITS.most:
        raise ReflowError(
            f"Downloads on this server are limited to {numbers.size(LIMITS.most)} and use {numbers.size(held)}; "
            f"{numbers.size(size)} more do not fit. Whoever runs the server can delete some, or start it with a "
            "larger --downloads-gb."
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; the hub says the hash of a large file in the answer that sends one elsewhere for it."""

    sha256 = ""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.sha256 = self.sha256 or _linked(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _linked(headers: Any) -> str:
    match = SHA256.fullmatch(headers.get("X-Linked-ETag") or "")
    return match.group(1) if match else ""


def _whole(target: Path, sha256: str) -> bool:
    """Whether the file is there as it should be."""
    if not target.is_file():
        return False
    with target.open("rb") as file:
        return not sha256 or hashlib.file_digest(file, "sha256").hexdigest().startswith(sha256)


def _too_long(url: str, allowed: int) -> ReflowError:
    return ReflowError(f"{_name(url)} is larger than the expected {numbers.size(allowed)}, so it was deleted.")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _name(url: str) -> str:
    return urlsplit(url).path.rsplit("/", 1)[-1]
