"""The frontier of repairs: what accuracy each brings back in how many seconds, and which of them nothing beats."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reflow_core.diagnosis.fields import is_total, normalize
from reflow_core.diagnosis.point import Point
from reflow_core.repairs import repairs
from reflow_core.spec import ONE_SHOT, STAGED, Spec

HIGH = (0.8, 0.9, 0.95)  # sparsities at which repairs differ
BESIDE = 2  # of them are shown beside a spec's own
IN_STAGES = ("least-squares", "distill")  # shown in stages too: these fit weights, and take seconds a stage


def pareto(seconds: ArrayLike, accuracies: ArrayLike) -> NDArray[np.bool_]:
    """Whether no other configuration beats each of these (N,): one as quick and as accurate, and better in either."""
    spent, scores = np.asarray(seconds, float), np.asarray(accuracies, float)
    no_worse = (spent <= spent[:, None]) & (scores >= scores[:, None])  # [i, j]: j is no worse than i
    better = (spent < spent[:, None]) | (scores > scores[:, None])
    beaten: NDArray[np.bool_] = np.any(no_worse & better, axis=1)
    return ~beaten


def sparsities(spec: Spec) -> tuple[float, ...]:
    """The spec's own sparsity with the nearest high ones, ascending; alone where it is not one of the whole network."""
    if not is_total(spec):
        return (spec.sparsity,)
    others = sorted(set(HIGH) - {spec.sparsity}, key=lambda high: (abs(high - spec.sparsity), high))
    return tuple(sorted((spec.sparsity, *others[:BESIDE])))


def candidates(spec: Spec) -> list[Spec]:
    """Every repair in one shot, and those that are IN_STAGES so too, at each of the `sparsities`."""
    ways = [(repair, ONE_SHOT) for repair in repairs.names() if repair != "none"]
    ways += [(repair, STAGED) for repair in IN_STAGES]
    return list(
        dict.fromkeys(
            normalize(spec, repair=repair, stages=stages, sparsity=sparsity)
            for sparsity in sparsities(spec)
            for repair, stages in ways
        )
    )


def inapplicable(points: Iterable[Point]) -> dict[str, str]:
    """Why a repair does not apply, by its name, for those that were tried in vain."""
    return {
        point.spec.repair: point.reason
        for point in points
        if point.reason and point.spec.repair != "none" and "repaired" not in point.outcomes
    }
