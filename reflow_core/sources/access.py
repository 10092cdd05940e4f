"""What of this machine a name may point to: nothing, what lies below one folder, or everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reflow_core.errors import ReflowError


@dataclass(frozen=True, slots=True)
class Access:
    """`root`: paths below it are open, None: no path is. `code`: whether a model may be a FILE.py:FUNCTION there.

    `modules`: whether it may also be of a module that Python finds. `start`: where relative names begin, None: at the
    root.
    """

    root: Path | None = None
    code: bool = False
    start: Path | None = None
    modules: bool = False

    def path(self, name: str) -> Path | None:
        """The place that a name means, links followed; None where paths are closed. Raises ReflowError outside it."""
        if self.root is None:
            return None
        try:
            root, place = self.root.resolve(), ((self.start or self.root) / name).resolve()
        except (ValueError, OSError, RuntimeError):  # a null byte, a name too long, links in a circle
            raise ReflowError(f"{name!r} is not a path.") from None
        if not place.is_relative_to(root):
            raise ReflowError(f"{name!r} lies outside the folder that this server opened; copy it into {root.name!r}.")
        return place


CLOSED = Access()
EVERYTHING = Access(Path(Path.cwd().anchor), code=True, start=Path(), modules=True)  # for whoever sits at this machine
