"""Closed-form statistics of predictions: intervals, paired tests, entropy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927), as fractions 0 to 1.

    Raises ValueError for counts that are no proportion.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is not a proportion")
    share, z2 = successes / trials, Z95 * Z95
    center = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, center - half), min(1.0, center + half)


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Two-sided exact p value that two classifiers are equally often right on the same images (McNemar 1947).

    `one`, `other` (N,): whether each prediction was right. Only images on which they differ count; under the null
    hypothesis either is the right one with probability 1/2.
    """
    wins, losses = int((one & ~other).sum()), int((other & ~one).sum())
    tail = sum(math.comb(wins + losses, few) for few in range(min(wins, losses) + 1))
    return min(1.0, float(2 * tail / 2 ** (wins + losses)))


def entropy(histogram: NDArray[np.int64]) -> float:
    """Shannon entropy in bits of the predictions counted in `histogram` (K,)."""
    shares = histogram[histogram > 0] / histogram.sum()
    return float(abs(-(shares * np.log2(shares)).sum()))


def effective_classes(histogram: NDArray[np.int64]) -> float:
    """2 to the entropy: how many classes a uniform guesser with this entropy would use, 1 to K."""
    return float(2 ** entropy(histogram))


def paired_score(lost: int, won: int, n: int, difference: float) -> float:
    """Tango's score statistic that the paired loss of accuracy is `difference` (fraction), standard normal if so.

    Of `n` images only the first classifier was right on `lost` and only the second on `won`; positive where more was
    lost than `difference`. At 0 it is McNemar's (Tango, Statistics in Medicine 17, 1998, 891-908).
    """
    linear = (2 * n - lost + won) * difference - lost - won
    constant = -won * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)  # of `won`, if so
    excess, variance = lost - won - n * difference, n * (2 * share + difference * (1 - difference))
    return excess / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, excess) if excess else 0.0


def paired_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """95 % interval of a paired loss (fraction): the differences that Tango's test does not reject."""
    measured = (lost - won) / n
    return tuple(_boundary(lost, won, n, measured, end) for end in (-1.0, 1.0))  # type: ignore[return-value]


def paired_difference(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, float, float]:
    """How much more often `one` is right than `other` on the same images (N,), a fraction, and its interval's ends."""
    lost, won, n = int((one & ~other).sum()), int((other & ~one).sum()), len(one)
    return (lost - won) / n, *paired_interval(lost, won, n)


def _boundary(lost: int, won: int, n: int, inside: float, outside: float) -> float:
    """Where, between a difference that is not rejected and one that is, the test changes its mind: by bisection."""
    if abs(paired_score(lost, won, n, outside)) <= Z95:
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2
        rejected = abs(paired_score(lost, won, n, middle)) > Z95
        inside, outside = (inside, middle) if rejected else (middle, outside)
    return inside


def proportion_score(successes: int, trials: int, share: float) -> float:
    """Score statistic that a proportion is `share` (the test that Wilson's interval inverts)."""
    excess, variance = successes - trials * share, trials * share * (1 - share)
    return excess / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, excess) if excess else 0.0


def upper_tail(score: float) -> float:
    """The probability that a standard normal variable exceeds `score`."""
    return math.erfc(score / math.sqrt(2)) / 2


def normal_quantile(share: float) -> float:
    """The value below which a standard normal variable lies with probability `share`."""
    return statistics.NormalDist().inv_cdf(share)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected so that a false one among them is at most `alpha` likely (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > alpha / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected
