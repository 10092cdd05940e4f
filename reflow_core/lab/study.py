"""Studies: configurations side by side, as lists of specs and one table of outcomes, and what compares them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import Point
from reflow_core.spec import CALIBRATION, STAGED, Spec

GRID = tuple(round(0.05 * step, 2) for step in range(20))  # 0 to 0.95
LIMITS = tuple(round(0.3 + 0.05 * step, 2) for step in range(14))  # 0.3 to 0.95
READ_BY_REPAIRS = (*CALIBRATION, "calibration_batch", "statistics", "epochs")


def configurations(base: Spec, criteria: Iterable[str], updates: Iterable[str], repairs: Iterable[str]) -> list[Spec]:
    """Every criterion with every update and every repair, on the base's model, images and seed."""
    repairs = list(repairs)
    return [
        normalize(base, criterion=criterion, update=update, repair=repair)
        for criterion in criteria
        for update in updates
        for repair in repairs
    ]


def selection(configuration: Mapping[str, Any]) -> str:
    """How weights are selected in words, from the fields of a spec: the criterion, and its update if there is one."""
    criterion, update = str(configuration["criterion"]), str(configuration["update"])
    stages = ", in stages" if configuration["stages"] == STAGED else ""
    return (criterion if update == "none" else f"{criterion} + {update}") + stages


def outcomes(points: Iterable[Point]) -> pd.DataFrame:
    """A row a configuration and spec: selection, repair, sparsity, accuracy with its interval (fractions), seconds.

    `seconds`: to select and to repair, in stages those of all stages. `dense`: the dense network's accuracy.
    The pruned network of each selection stands there once as repair "none", except where stages before
    were repaired. Without labels, accuracy is the agreement with the dense network. Where any of them is a preview, the
    column `preview` says which.
    """
    table = pd.DataFrame([row for point in points for row in _rows(point)])
    if table.empty:
        return table
    if not table.preview.any():
        table = table.drop(columns="preview")
    once = ["selection", "repair", "sparsity", "seed"]
    bare = table.repair == "none"  # whatever calibrates a repair, the pruned network is the same
    return table[~table.duplicated(once) | ~(bare | table.duplicated([*once, *READ_BY_REPAIRS]))]


def _rows(point: Point) -> Iterator[dict[str, Any]]:
    spec, selecting = point.spec.to_dict(), point.seconds.get("prune", 0.0)
    shared = spec | {"reached": point.sparsity, "reason": point.reason, "seconds_select": selecting}
    shared["preview"] = point.preview
    shared["selection"] = selection(spec)
    for variant, repair in (("pruned", "none"), ("repaired", point.spec.repair)):
        bare = variant == "pruned"
        if variant in point.outcomes and (spec["stages"] != STAGED if bare else repair != "none"):
            low, high = point.interval(variant)
            repairing = point.seconds.get("calibrate", 0.0) if variant == "repaired" else 0.0
            yield shared | {
                "repair": repair,
                "accuracy": point.score(variant),
                "low": low,
                "high": high,
                "dense": point.score("dense"),
                "last_ratio": point.last_ratio(variant),
                "seconds": selecting + repairing,
            }


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of the sum of squares of a selection × repair table, 0 to 1: they add up to 1."""

    selection: float
    repair: float
    interaction: float
    total: float


def split(table: pd.DataFrame) -> Split:
    """Two-way analysis of variance without replication of accuracies (rows: selections, columns: repairs).

    SS_selection = columns · Σ (row mean − mean)², SS_repair = rows · Σ (column mean − mean)², the rest is interaction
    (Fisher, 1925). Raises ValueError for a table with holes or without two rows and columns.
    """
    values = table.to_numpy(dtype=float)
    if min(values.shape) < 2 or not np.isfinite(values).all():
        raise ValueError("the split needs at least two selections and two repairs, all measured")
    mean = values.mean()
    total = float(((values - mean) ** 2).sum())
    by_row = float(values.shape[1] * ((values.mean(1) - mean) ** 2).sum())
    by_column = float(values.shape[0] * ((values.mean(0) - mean) ** 2).sum())
    whole = total or 1.0
    return Split(by_row / whole, by_column / whole, (total - by_row - by_column) / whole, total)


def saturation(table: pd.DataFrame, within: float = 0.01) -> int | None:
    """The fewest calibration images whose mean accuracy is within `within` of the best mean; None for no rows."""
    if table.empty:
        return None
    means = table.groupby("calibration_images").accuracy.mean()
    return int(means.index[means >= means.max() - within].min())


def largest(points: Iterable[Point], loss: float = 0.05) -> float | None:
    """The largest sparsity up to which pruning alone loses at most `loss` (fraction); None where it always loses more.

    Loss is of accuracy, or without labels of agreement with the dense network.
    """
    reached = None
    for point in sorted(points, key=lambda point: point.spec.sparsity):
        if point.score("dense") - point.score("pruned") > loss:
            break
        reached = point.spec.sparsity
    return reached


def doubling(most: int, first: int = 16) -> Sequence[int]:
    """16, 32, 64 … and `most` itself, which takes the place of a power of two close below it."""
    counts = []
    while 1.25 * first < most:
        counts.append(first)
        first *= 2
    return [*counts, most]
