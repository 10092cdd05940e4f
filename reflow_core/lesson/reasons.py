"""What several steps need to say."""

from __future__ import annotations

from reflow_core.lesson import Seen
from reflow_core.result import Diagnosis


def repaired_score(seen: Seen) -> float:
    """The repaired network's accuracy, or the pruned one's where the repair does not apply."""
    return last_score(seen.found)


def last_score(found: Diagnosis) -> float:
    """The same of any diagnosis."""
    return found.outcome(found.last).score
