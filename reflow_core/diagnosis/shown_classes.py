"""Which classes a picture of predictions shows: all of a few, of many the most predicted and the others together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reflow_core.diagnosis.result import Outcome

FEW = 20  # classes of which each has a bar
MOST_PREDICTED = 10  # of more


@dataclass(frozen=True, slots=True)
class ShownClasses:
    """`indices`: of the classes that are shown, in order. `rest`: how many others there are, shown as one."""

    indices: tuple[int, ...]
    rest: int

    def names(self, classes: Sequence[str]) -> list[str]:
        """What to write beside each bar; where classes share a name, with their number."""
        given = [classes[index] for index in self.indices]
        names = [
            f"{name} ({index})" if given.count(name) > 1 else name
            for name, index in zip(given, self.indices, strict=True)
        ]
        return [*names, f"{self.rest} others"] if self.rest else names

    def counts(self, outcome: Outcome) -> list[int]:
        """How many predictions each of the bars stands for; they sum to the number of images."""
        counts = [outcome.histogram[index] for index in self.indices]
        return [*counts, outcome.n - sum(counts)] if self.rest else counts


def shown_classes(outcomes: Iterable[Outcome]) -> ShownClasses:
    """The classes for all of several outcomes over the same classes: in their own order, or the most predicted first.

    Most predicted: by the sum of the shares that the outcomes give a class; ties in the classes' own order. A class
    that none of them predicts is among the others.
    """
    shares = sum(np.array(outcome.histogram) / outcome.n for outcome in outcomes)
    assert isinstance(shares, np.ndarray)
    if len(shares) <= FEW:
        return ShownClasses(tuple(range(len(shares))), 0)
    ranked = np.argsort(-shares, kind="stable")[:MOST_PREDICTED].tolist()
    most = tuple(index for index in ranked if shares[index] > 0)
    return ShownClasses(most, len(shares) - len(most))
