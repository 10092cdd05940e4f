"""The release gate: which limits a pruned network keeps, which it breaks, and which these images cannot decide.

A measured loss is an estimate, and a network is judged on many slices at once. So each limit is tested on the same
images before and after (Tango's score test), a break must be significant after Holm's correction over all limits, and
what is neither shown to be kept nor shown to be broken is undecided.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reflow_core.diagnosis.statistics import (
    holm,
    normal_quantile,
    paired_interval,
    paired_score,
    proportion_score,
    upper_tail,
    wilson,
)
from reflow_core.errors import ReflowError
from reflow_core.numbers import decimal, in_points, percent, points_between

PASSES, FAILS, UNDECIDED = "passes", "fails", "undecided"
ALPHA = 0.05  # of all breaks together, and of each limit that is said to be kept
LEAST = 10  # images of a slice that is judged by what it loses
ALL = "all"  # the slice of all images
Correct = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a release has to keep, fractions of accuracy.

    `drop`: the most that may be lost overall. `slice_drop`: the most that a slice of at least `least` images may lose.
    `floors`: the least accuracy of single slices, by "BY/SLICE".
    """

    drop: float = 0.01
    slice_drop: float = 0.05
    least: int = LEAST
    floors: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One limit and its test. `measured`, `limit`: the loss, or of a floor the accuracy (fractions).

    `lost`, `won`: images that only dense, and only the variant, got right; of a floor `won` are those it got right.

    `before`, `after`: the accuracies that a loss lies between. `score`: standard errors from the limit, positive on the
    wrong side. `more`: images that would decide it at the same rates, None where it is decided or no number would.
    """

    by: str
    slice: str
    n: int
    floor: bool
    measured: float
    lost: int
    won: int
    limit: float
    score: float
    outcome: str = UNDECIDED
    more: int | None = None
    before: float = 0.0
    after: float = 0.0

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of what was measured."""
        return wilson(self.won, self.n) if self.floor else paired_interval(self.lost, self.won, self.n)

    @property
    def breach(self) -> float:
        """The p value of "the limit is kept"."""
        return upper_tail(self.score)

    @property
    def kept(self) -> float:
        """The p value of "the limit is broken"."""
        return upper_tail(-self.score)

    def sentence(self) -> str:
        """What was measured, with its interval, beside what is allowed, and what would decide."""
        low, high = self.interval()
        where = "overall it" if self.by == ALL else f"{self.by} {self.slice} (n = {self.n})"
        if self.floor:
            between = f"95 % interval {percent(low)} to {percent(high)}"
            text = f"{where} reaches {percent(self.measured)} ({between}); required: {percent(self.limit)}"
        else:
            between = f"95 % interval {decimal(100 * low, 1)} to {decimal(100 * high, 1)}".replace("-", "−")
            fall = f"{points_between(self.before, self.after)}, {percent(self.before)} to {percent(self.after)}"
            text = f"{where} loses {fall} ({between}); allowed: {in_points(self.limit)}"
        if self.outcome != UNDECIDED:
            return text
        return f"{text}; " + (
            "no number of images would decide it"
            if self.more is None
            else f"about {self.more:,} more such images would decide it"
        )


def floors(text: str) -> dict[str, float]:
    """ "class/8:0.95,brightness/low:0.9" as fractions by slice. Raises ReflowError."""
    limits = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, least = part.rpartition(":")
        try:
            limits[name] = float(least)
        except ValueError:
            name = ""
        if "/" not in name or not 0 <= limits[name] <= 1:
            raise ReflowError(f"floor {part!r} is not BY/SLICE:FRACTION; an example is class/8:0.95.")
    return limits


def judge(dense: Correct, variant: Correct, sliced: Mapping[str, pd.Series], limits: Limits) -> list[Check]:
    """Every limit tested on the images (N,) that dense and the variant got right, and decided together.

    Args:
        dense: Whether dense predicted each image rightly.
        variant: The same of the network to be released.
        sliced: The slice of each image, by what it is sliced by.
        limits: What has to be kept.

    Returns:
        A check a limit: overall first, then slices, then floors.

    Raises:
        ReflowError: For a floor of a slice that there is not.

    Source: T. Tango, Statistics in Medicine 17 (1998), 891-908, for the paired test; S. Holm, Scandinavian Journal of
        Statistics 6 (1979), 65-70, for the correction. That a limit is kept needs no correction: all must be shown.
    """
    whole = _loss(ALL, ALL, dense, variant, limits.drop)
    parts = [
        _loss(by, str(name), dense[inside], variant[inside], limits.slice_drop)
        for by, names in sliced.items()
        for name in names.unique()
        if (inside := (names == name).to_numpy()).sum() >= limits.least
    ]
    return decided([whole, *parts, *_floors(variant, sliced, limits.floors or {})])


def _loss(by: str, name: str, dense: Correct, variant: Correct, limit: float) -> Check:
    lost, won, n = int((dense & ~variant).sum()), int((variant & ~dense).sum()), len(dense)
    score, before, after = paired_score(lost, won, n, limit), float(dense.mean()), float(variant.mean())
    return Check(by, name, n, False, (lost - won) / n, lost, won, limit, score, before=before, after=after)


def _floors(variant: Correct, sliced: Mapping[str, pd.Series], wanted: Mapping[str, float]) -> Iterator[Check]:
    for place, least in wanted.items():
        by, _, name = place.partition("/")
        inside = (sliced[by] == name).to_numpy() if by in sliced else np.zeros(len(variant), dtype=bool)
        if not (n := int(inside.sum())):
            there = {by: sliced[by]} if by in sliced else sliced
            existing = ", ".join(f"{kind}/{part}" for kind, names in there.items() for part in names.unique())
            raise ReflowError(f"There is no slice {place!r}; the slices are {existing}.")
        right = int(variant[inside].sum())
        yield Check(by, name, n, True, right / n, 0, right, least, -proportion_score(right, n, least))


def decided(checks: Sequence[Check]) -> list[Check]:
    """The checks with their outcomes: broken by Holm's step-down at ALPHA over all, kept each at ALPHA."""
    broken = holm([check.breach for check in checks], ALPHA)
    return [_decided(check, breach, len(checks)) for check, breach in zip(checks, broken, strict=True)]


def _decided(check: Check, broken: bool, count: int) -> Check:
    outcome = FAILS if broken else PASSES if check.kept <= ALPHA else UNDECIDED
    needed = normal_quantile(1 - (ALPHA / count if check.score > 0 else ALPHA))
    more = None
    if outcome == UNDECIDED and check.score != 0:  # the score grows with the root of the number of images
        more = max(1, math.ceil(check.n * ((needed / check.score) ** 2 - 1)))
    return dataclasses.replace(check, outcome=outcome, more=more)


def outcome(checks: Sequence[Check]) -> str:
    """Of all limits together: fails where one is broken, passes where all are kept, else undecided."""
    outcomes = {check.outcome for check in checks}
    return FAILS if FAILS in outcomes else UNDECIDED if UNDECIDED in outcomes else PASSES


def table(checks: Sequence[Check]) -> pd.DataFrame:
    """A row a limit, as it was tested (fractions)."""
    rows = [
        {
            "by": check.by,
            "slice": check.slice,
            "n": check.n,
            "measured": "accuracy" if check.floor else "loss",
            "value": check.measured,
            "low": check.interval()[0],
            "high": check.interval()[1],
            "limit": check.limit,
            "outcome": check.outcome,
            "more_images": check.more,
        }
        for check in checks
    ]
    return pd.DataFrame(rows)
