"""Downloads on request: with progress, checked against a hash, never half a file under the final name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from reflow_core.errors import ReflowError
from reflow_core.watch import Watch, ignore

CHUNK = 1 << 16
TIMEOUT_S = 20


def fetch(url: str, target: Path, sha256: str, size: int, watch: Watch = ignore) -> Path:
    """Download `url` to `target` unless it is there; `sha256` holds the first digits of the expected hash.

    `size`: expected bytes, for the progress where the server names none. Raises ReflowError without a network, on a
    full or read-only disk, and where the hash differs; no part of a failed download is left behind.
    """
    if target.is_file():
        return _verified(target, sha256, url)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _stream(url, part, size, watch)
        _verified(part, sha256, url)
        part.replace(target)
    except urllib.error.URLError as error:
        reason = getattr(error, "reason", error)
        raise ReflowError(f"Could not download {url} ({reason}); connect to the internet and try again.") from None
    except OSError as error:
        raise ReflowError(f"Could not save {target.name} in {target.parent} ({error.strerror or error}).") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def _stream(url: str, part: Path, size: int, watch: Watch) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, part.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or size)
        done = 0
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            watch("download", min(done, total), total)


def _verified(path: Path, sha256: str, url: str) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(sha256):
        raise ReflowError(
            f"{path.name} from {url} has SHA-256 {digest[:8]}… and not {sha256}…; delete the file and try again."
        )
    return path
