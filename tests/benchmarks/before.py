"""The commit that this version's costs are compared with, checked out for as long as a benchmark runs."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.browser import ROOT

COMMIT = "7f8fe28"


@contextmanager
def before() -> Iterator[Path | None]:
    """A folder with that commit's files; None, with a sentence printed, where git does not know it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "before"
        made = subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--detach", place, COMMIT], capture_output=True, text=True
        )
        if made.returncode:
            print(f"commit {COMMIT} is not here ({made.stderr.strip().splitlines()[-1]}): nothing to compare with")
            yield None
            return
        try:
            yield place
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", place], capture_output=True, check=True)
