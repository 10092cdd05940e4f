"""Waiting on a condition. How long is no measure of anything: only what hangs is ended, on the slowest machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE_S = 480.0


def until(done: Callable[[], bool], every: float = 0.01) -> bool:
    """Look every so many seconds until `done`; True then. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError
        threading.Event().wait(every)
    return True
