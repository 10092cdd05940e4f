"""Studies: arms side by side, as lists of specs, flat rows, and the statistics that compare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reflow_core.diagnosis.diagnose import settle
from reflow_core.diagnosis.result import Diagnosis, finite
from reflow_core.diagnosis.verdict import verdict
from reflow_core.production.finding import Finding
from reflow_core.production.inspections.claims import FAILS, HOLDS
from reflow_core.spec import CALIBRATION, Spec

GRID = tuple(round(0.05 * step, 2) for step in range(20))  # 0 to 0.95


LIMITS = tuple(round(0.3 + 0.05 * step, 2) for step in range(14))  # 0.3 to 0.95


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """What a study keeps of one diagnosis: its flat row, the layers' profile by arm, and the sample of its mask.

    `correct`: by arm, whether each image (N,) was answered rightly; empty without labels.
    """

    row: dict[str, Any]
    layers: tuple[str, ...]
    ratio: dict[str, tuple[float | None, ...]]
    cka: dict[str, tuple[float | None, ...]]
    kept: NDArray[np.bool_]
    correct: dict[str, NDArray[np.bool_]]

    def score(self, arm: str) -> float:
        """An arm's accuracy (fraction), or its agreement with dense without labels."""
        accuracy = self.row[f"{arm}_accuracy"]
        return float(self.row[f"{arm}_agreement"] if accuracy is None else accuracy)

    @property
    def last(self) -> str:
        """The repaired arm, or the pruned one where there is none."""
        return "repaired" if "repaired_n" in self.row else "pruned"


def point(found: Diagnosis) -> Point:
    """The digest of a diagnosis."""
    arms = [arm for arm in ("pruned", "repaired") if arm in found.answers]
    return Point(
        row(found),
        tuple(layer.name for layer in found.layers),
        {arm: tuple(finite(layer.variance_ratio(arm)) for layer in found.layers) for arm in arms},
        {arm: tuple(finite(layer.cka.get(arm)) for layer in found.layers) for arm in arms},
        found.kept,
        {} if found.labels is None else {arm: each.predicted == found.labels for arm, each in found.answers.items()},
    )


def row(found: Diagnosis) -> dict[str, Any]:
    """One diagnosis as a flat row: the spec's fields, then the arms' summaries, then seconds."""
    flat: dict[str, Any] = {**found.spec.to_dict(), "status": verdict(found).status, "reached": found.sparsity}
    for arm, summary in found.outcomes().items():
        low, high = summary.ci95 or (None, None)
        flat |= {f"{arm}_accuracy": summary.accuracy, f"{arm}_low": low, f"{arm}_high": high}
        flat |= {f"{arm}_agreement": summary.agreement, f"{arm}_top_share": summary.top_share, f"{arm}_n": summary.n}
        flat[f"{arm}_fidelity"] = finite(summary.fidelity)
    flat |= {f"{arm}_last_ratio": found.last_ratio(arm) for arm in ("pruned", "repaired")}
    flat |= {"reason": found.reason, "seconds_select": found.seconds.get("prune")}
    return flat | {"seconds_repair": found.seconds.get("calibrate")}


def arms(base: Spec, criteria: Iterable[str], updates: Iterable[str], repairs: Iterable[str]) -> list[Spec]:
    """Every criterion with every update and every repair, on the base's model, images and seed."""
    repairs = list(repairs)
    return [
        settle(base, criterion=criterion, update=update, repair=repair)
        for criterion in criteria
        for update in updates
        for repair in repairs
    ]


def selection(arm: Mapping[str, Any]) -> str:
    """An arm's selection in words, from the fields of its spec: the criterion, and its update if there is one."""
    return str(arm["criterion"]) if arm["update"] == "none" else f"{arm['criterion']} + {arm['update']}"


def outcomes(points: Iterable[Point]) -> pd.DataFrame:
    """A row an arm and spec: selection, repair, sparsity, accuracy (fraction) with its interval, ratio and seconds.

    The pruned network of each selection stands there once as repair "none". Without labels, accuracy is the agreement
    with the dense network.
    """
    rows = []
    for each in points:
        flat = each.row
        shared = {name: flat[name] for name in (*Spec.__dataclass_fields__, "reached", "reason", "seconds_select")}
        shared["selection"] = selection(flat)
        for arm, repair in (("pruned", "none"), ("repaired", flat["repair"])):
            if f"{arm}_n" in flat and (arm == "pruned" or repair != "none"):
                score = flat[f"{arm}_accuracy"]
                rows.append(
                    shared
                    | {
                        "repair": repair,
                        "accuracy": flat[f"{arm}_agreement"] if score is None else score,
                        "low": flat[f"{arm}_low"],
                        "high": flat[f"{arm}_high"],
                        "last_ratio": flat[f"{arm}_last_ratio"],
                        "seconds": (flat["seconds_select"] or 0) + (flat["seconds_repair"] or 0) * (arm == "repaired"),
                    }
                )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    once = ["selection", "repair", "sparsity", "seed"]
    bare = table.repair == "none"  # whatever calibrates a repair, the pruned network is the same
    return table[~table.duplicated(once) | ~(bare | table.duplicated([*once, *READ_BY_REPAIRS]))]


READ_BY_REPAIRS = (*CALIBRATION, "calibration_batch", "statistics")


def markdown(rows: pd.DataFrame) -> str:
    """Flat rows as a table for a README: accuracies in % with their 95 % intervals, ratio and seconds."""
    lines = ["| selection | sparsity | repair | pruned | repaired | last ratio | seconds |", "|" + "---|" * 7]
    for flat in rows.to_dict("records"):
        scores = [_interval(flat, arm) for arm in ("pruned", "repaired")]
        ratio, seconds = (_short(flat.get(name)) for name in ("pruned_last_ratio", "seconds_select"))
        cells = [selection(flat), f"{100 * flat['sparsity']:g} %", flat["repair"], *scores, ratio, seconds]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _interval(flat: dict[Any, Any], arm: str) -> str:
    score, low, high = (float(flat.get(f"{arm}_{what}", np.nan)) for what in ("accuracy", "low", "high"))
    return "–" if np.isnan(score) else f"{100 * score:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _short(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.2g}"


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
    found = None
    for each in sorted(points, key=lambda each: each.row["sparsity"]):
        if each.score("dense") - each.score("pruned") > loss:
            break
        found = float(each.row["sparsity"])
    return found


def claimed(spec: Spec, found: Sequence[Finding]) -> Finding:
    """Every tested claim as a row, and how many hold."""
    table = pd.DataFrame([dict(each.facts) for each in found], columns=["claim", "verdict", "measured", "source"])
    counts = table.verdict.value_counts()
    held, failed = int(counts.get(HOLDS, 0)), int(counts.get(FAILS, 0))
    answer = (
        f"Of {len(table)} claims about pruning in production {held} hold on this model and machine, {failed} do not, "
        f"and {len(table) - held - failed} cannot be measured here."
    )
    machine = next((each.machine for each in found if each.machine), "")
    return Finding(
        spec, answer, {"Claims": table}, {"counts": {str(k): int(v) for k, v in counts.items()}}, machine=machine
    )


def doubling(most: int, first: int = 16) -> Sequence[int]:
    """16, 32, 64 … and `most` itself, which takes the place of a power of two close below it."""
    counts = []
    while 1.25 * first < most:
        counts.append(first)
        first *= 2
    return [*counts, most]
