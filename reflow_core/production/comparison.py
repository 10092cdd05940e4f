"""Two diagnoses side by side: what differs between their specs, and what that makes of the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from reflow_core.diagnosis.result import VARIANTS, Diagnosis
from reflow_core.diagnosis.statistics import mcnemar
from reflow_core.numbers import MINUS, MISSING, decimal, p_value, percent, points_between
from reflow_core.production.finding import Finding

SIGNIFICANT = 0.05  # a p value below which a difference is more than the choice of images
SAME_IMAGES = ("evaluation_images", "evaluation_split", "evaluation_tail", "seed")


def compared(a: Diagnosis, b: Diagnosis) -> Finding:
    """B against A: the fields in which their specs differ, accuracies, predictions and signal of each variant.

    Facts: `gain`, B's last variant minus A's (fraction of accuracy, or of agreement with dense without labels); `p`,
    McNemar's two-sided exact p value that both are equally often right, None where their images differ.
    """
    gain, p = b.final.score - a.final.score, chance(a, b)
    fields = pd.DataFrame(list(_fields(a, b)), columns=["field", "A", "B"])
    numbers = pd.DataFrame(list(_numbers(a, b)), columns=["what", "A", "B", "B - A"])
    tables = {"What differs": fields, "Numbers": numbers}
    return Finding(b.spec, _answer(a, b, gain, p, fields), tables, {"gain": gain, "p": p})


def written(numbers: pd.DataFrame) -> pd.DataFrame:
    """The table of numbers as text: percentages with one decimal, ratios with three, differences of what is shown."""
    rows = [
        (what, *_written(a, b, 1 if what.endswith("(%)") else 3)) for what, a, b, _ in numbers.itertuples(index=False)
    ]
    return pd.DataFrame(rows, columns=["what", "A", "B", f"B {MINUS} A"])


def _written(a: float, b: float, places: int) -> tuple[str, str, str]:
    shown = [MISSING if pd.isna(value) else decimal(value, places) for value in (a, b)]
    if MISSING in shown:
        return shown[0], shown[1], MISSING
    return shown[0], shown[1], decimal(round(b, places) - round(a, places), places)


def paired(a: Diagnosis, b: Diagnosis) -> bool:
    """Whether both were evaluated on the same labeled images, one by one (a corruption may differ)."""
    same = a.data == b.data and all(getattr(a.spec, name) == getattr(b.spec, name) for name in SAME_IMAGES)
    return same and a.labels is not None and b.labels is not None and np.array_equal(a.labels, b.labels)


def chance(a: Diagnosis, b: Diagnosis) -> float | None:
    """McNemar's p value of the last variants; None for different images."""
    if not paired(a, b):
        return None
    correct = [view.predictions[view.last].predicted == view.labels for view in (a, b)]
    return mcnemar(correct[0], correct[1])


def _fields(a: Diagnosis, b: Diagnosis) -> Iterator[tuple[str, str, str]]:
    fields_a, fields_b = a.spec.to_dict(), b.spec.to_dict()
    return ((name, str(value), str(fields_b[name])) for name, value in fields_a.items() if value != fields_b[name])


def _numbers(a: Diagnosis, b: Diagnosis) -> Iterator[tuple[str, float | None, float | None, float | None]]:
    for variant in VARIANTS:
        if variant in a.predictions or variant in b.predictions:
            yield _row(f"{variant}: {_measure(a, b)} (%)", *(_percent(view, variant, "score") for view in (a, b)))
            yield _row(
                f"{variant}: most frequent prediction (%)", *(_percent(view, variant, "top_share") for view in (a, b))
            )
    for variant in VARIANTS[1:]:
        ratios = [view.last_ratio(variant) for view in (a, b)]
        if any(ratio is not None for ratio in ratios):
            yield _row(f"{variant}: variance ratio of the last layer", *ratios)


def _measure(a: Diagnosis, b: Diagnosis) -> str:
    return "agreement with dense" if a.labels is None or b.labels is None else "accuracy"


def _percent(diagnosis: Diagnosis, variant: str, field: str) -> float | None:
    return 100 * float(getattr(diagnosis.outcome(variant), field)) if variant in diagnosis.predictions else None


def _row(what: str, a: float | None, b: float | None) -> tuple[str, Any, Any, Any]:
    return what, a, b, None if a is None or b is None else b - a


def _answer(a: Diagnosis, b: Diagnosis, gain: float, p: float | None, fields: pd.DataFrame) -> str:
    if fields.empty:
        return "A and B are the same view. Change any control to change B."
    scores = f"{percent(b.final.score)} ({b.last}) vs. {percent(a.final.score)} ({a.last})"
    side = "better" if gain > 0 else "worse"
    relation = (
        "equal to"
        if abs(gain) < 0.0005
        else f"{points_between(*sorted((a.final.score, b.final.score), reverse=True))} {side} than"
    )
    certainty = "the images differ, so significance cannot be tested"
    if p is not None:
        amount = "significant" if p < SIGNIFICANT else "not significant"
        certainty = f"on the same {b.dense.n} images, {amount} (McNemar, {p_value(p)})"
    changed = ", ".join(f"{row.field} {row.A or 'none'} → {row.B or 'none'}" for row in fields.itertuples())
    return f"B is {relation} A: {scores}; {certainty}. Changed: {changed}."
