"""Progress and cancelling: one callback that long work calls at every batch and layer."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """Called with the stage's name and how much of it is done; may raise `Cancelled` to stop the work."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def ignore(stage: str, done: int, total: int) -> None:
    """A watch that looks away."""
