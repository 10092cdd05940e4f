"""Which sparsity of a curve to compute next: where it bends, so far as it is known."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest

import numpy as np
from numpy.typing import NDArray

from reflow_core.diagnosis.point import Point

LEAST, MOST = 1e-4, 3.0  # the axis on which variance ratios are drawn
RATIOS = 0.25  # what a change of a ratio counts beside one of an accuracy, each as a share of its axis
EVEN = 0.01  # change of an interval in which nothing is seen to change: a wide one may hide something
Drawn = Sequence[float | None]


def next_to_compute(
    known: Mapping[float, Drawn], sparsities: Iterable[float], count: int = 1, pending: Collection[float] = ()
) -> list[float]:
    """The next `count` of the `sparsities`: their ends and middle, then the middle of the interval that bends most.

    An interval counts by the largest change of any value between its ends, times the root of its width: a steep step
    between neighbors is known already, a gentle slope over half of the range may hide one. (With the change alone, or
    the whole width, the worst interpolated accuracy after 9 points is larger on the shipped networks.)

    `known`: by sparsity what is drawn there, each value as a share of its axis, None where it was not measured.
    `pending`: being computed; until they are known they count as if they lay on the line between their neighbors.
    """
    places = sorted(sparsities)
    taken = {place for place, at in enumerate(places) if at in known or at in pending}
    values = _interpolated(places, known)
    chosen: list[int] = []
    while len(chosen) < count and len(taken) < len(places):
        chosen.append(_next(taken, values))
        taken.add(chosen[-1])
    return [places[place] for place in chosen]


def _next(taken: Collection[int], values: NDArray[np.float64]) -> int:
    """The index to take next."""
    last = len(values) - 1
    if (first := next((place for place in (0, last, (last + 1) // 2) if place not in taken), None)) is not None:
        return first
    gaps = [(left, right) for left, right in pairwise(sorted(taken)) if right - left > 1]
    left, right = max(gaps, key=lambda gap: _bend(values[gap[0]], values[gap[1]]) * math.sqrt(gap[1] - gap[0]))
    return (left + right) // 2


def _bend(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return EVEN + float(np.max(np.abs(right - left), initial=0.0))


def _interpolated(places: Sequence[float], known: Mapping[float, Drawn]) -> NDArray[np.float64]:
    """Every value at every place (P, V), on the lines between those that are known."""
    ordered = sorted(known)
    columns = []
    for column in zip_longest(*(known[at] for at in ordered)):
        measured = {at: value for at, value in zip(ordered, column, strict=True) if value is not None}
        columns.append(np.interp(places, list(measured), list(measured.values())) if measured else 0 * np.array(places))
    return np.array(columns, dtype=np.float64).reshape(len(columns), len(places)).T


def share_of_axis(ratio: float | None) -> float | None:
    """Where a variance ratio stands on its log axis, 0 to 1, weighed against accuracies."""
    if ratio is None:
        return None
    span = math.log(MOST / LEAST)
    return RATIOS * math.log(min(MOST, max(LEAST, ratio)) / LEAST) / span


def drawn_of(scores: Mapping[str, float], ratios: Mapping[str, Sequence[float | None]]) -> Drawn:
    """What figures draw of one point over sparsity: accuracies and variance ratios of the pruned and the repaired."""
    variants = ("pruned", "repaired")
    flat = [share_of_axis(ratio) for variant in variants for ratio in ratios.get(variant, ())]
    return [*(scores.get(variant) for variant in variants), *flat]


def drawn_of_point(point: Point) -> Drawn:
    """The same of a study's point."""
    return drawn_of({name: outcome.score for name, outcome in point.outcomes.items()}, point.ratio)
