"""What can go wrong, said so that a person can fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 60  # letters of a bad name that are worth repeating
LISTED = 20  # names to choose from that are listed
CONTROLS = dict.fromkeys((*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), " ")


class ReflowError(ValueError):
    """Bad input. The message is a sentence that names the bad value and the fix, free of codes for a terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(message.translate(CONTROLS))


class NotApplicable(ReflowError):
    """A repair cannot help this network. The message is the reason; a diagnosis shows it as data."""


class Cancelled(Exception):
    """Raised by a `watch` callback to stop a computation between two batches; not an error."""


def shortened(name: str) -> str:
    """As much of a bad name as is worth repeating."""
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}…"


def unknown(kind: str, name: object, known: Iterable[str]) -> ReflowError:
    """The error for a name that no registry holds, with the nearest match."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(names[:LISTED])}{more}."
    return ReflowError(f"Unknown {kind} {shortened(str(name))!r}; {hint}")
