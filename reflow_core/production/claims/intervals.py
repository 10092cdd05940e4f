"""What the rules of claims share: losses with their intervals, and how several conditions make a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.statistics import paired_difference
from reflow_core.errors import ReflowError
from reflow_core.numbers import decimal
from reflow_core.production.claims import FAILS, HOLDS, UNDECIDED

MORE_IMAGES = " An interval contains its threshold; more evaluation images are needed to decide."


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured fraction and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """In points: 4.3 points [1.1 to 7.2]."""
        low, value, high = (f"{decimal(100 * each, 1)}" for each in (self.low, self.value, self.high))
        return f"{value} points [{low} to {high}]"

    def at_least(self, threshold: float) -> bool | None:
        """Whether it is at least so much; None where the interval covers the threshold."""
        return True if self.low >= threshold else False if self.high < threshold else None

    def at_most(self, threshold: float) -> bool | None:
        """Whether it is at most so much; None where the interval covers the threshold."""
        return True if self.high <= threshold else False if self.low > threshold else None

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two estimates on different images (Newcombe 1998, square and add)."""
        less = math.hypot(self.value - self.low, other.high - other.value)
        more = math.hypot(self.high - self.value, other.value - other.low)
        difference = self.value - other.value
        return Estimate(difference, difference - less, difference + more)


def weighted(parts: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """The mean of estimates on different images with weights that sum to 1 (square and add, as for a difference)."""
    value = sum(weight * part.value for part, weight in zip(parts, weights, strict=True))
    less, more = (
        math.hypot(*(weight * (end(part) - part.value) for part, weight in zip(parts, weights, strict=True)))
        for end in (lambda part: part.low, lambda part: part.high)
    )
    return Estimate(value, value - less, value + more)


def together(*conditions: bool | None) -> str:
    """Holds if all conditions do, does not if one fails, undecided otherwise."""
    if False in conditions:
        return FAILS
    return UNDECIDED if None in conditions else HOLDS


def lost(
    dense: NDArray[np.int64],
    predicted: NDArray[np.int64],
    labels: NDArray[np.int64] | None,
    of: NDArray[np.bool_] | None = None,
) -> Estimate:
    """The accuracy that predictions (N,) lost against dense ones, by Newcombe's paired interval; `of` (N,): on these.

    Without labels the agreement with dense. Raises ReflowError where no image is left.
    """
    truth = dense if labels is None else labels
    which = np.ones(len(truth), dtype=np.bool_) if of is None else of
    if not which.any():
        raise ReflowError("There is no evaluation image to measure this on.")
    return Estimate(*paired_difference((dense == truth)[which], (predicted == truth)[which]))


def lost_by(diagnosis: Diagnosis, variant: str, of: NDArray[np.bool_] | None = None) -> Estimate:
    """What a variant of a diagnosis lost."""
    dense, other = (diagnosis.predictions[name].predicted for name in ("dense", variant))
    return lost(dense, other, diagnosis.labels, of)


def judged(verdict: str, rule: str, needs: str = MORE_IMAGES) -> str:
    """The sentence that says by what was judged, and what an undecided verdict `needs`."""
    return f"Rule: {rule}.{needs if verdict == UNDECIDED else ''}"
