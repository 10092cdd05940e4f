"""What a study keeps of each of many diagnoses: summaries, the layers' profile, and who was right; no images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reflow_core.diagnosis.result import VARIANTS, Diagnosis, Outcome
from reflow_core.diagnosis.verdict import verdict
from reflow_core.numbers import finite
from reflow_core.spec import Spec


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """The digest of one diagnosis.

    `sparsity`: the fraction really reached. `outcomes`: by variant, as far as there is one. `ratio`, `cka`: by variant,
    of each of the `layers`. `kept`: the sample of its mask. `correct`: by variant, whether each image (N,) was
    predicted rightly; empty without labels. `seconds`: by stage. `preview`: whether it was computed in bfloat16.
    """

    spec: Spec
    status: str
    sparsity: float
    outcomes: Mapping[str, Outcome]
    layers: tuple[str, ...]
    ratio: Mapping[str, tuple[float | None, ...]]
    cka: Mapping[str, tuple[float | None, ...]]
    kept: NDArray[np.bool_]
    correct: Mapping[str, NDArray[np.bool_]]
    reason: str | None
    seconds: Mapping[str, float]
    preview: bool = False

    def score(self, variant: str) -> float:
        """A variant's accuracy (fraction), or its agreement with dense without labels."""
        return self.outcomes[variant].score

    def interval(self, variant: str) -> tuple[float | None, float | None]:
        """The ends of the accuracy's 95 % interval, None without labels."""
        return self.outcomes[variant].ci95 or (None, None)

    @property
    def last(self) -> str:
        """The repaired variant, or the pruned one where there is none."""
        return "repaired" if "repaired" in self.outcomes else "pruned"

    def last_ratio(self, variant: str) -> float | None:
        """The variance ratio of the last measured layer; None without one, or without the variant."""
        return self.ratio[variant][-1] if self.ratio.get(variant) else None


def point(diagnosis: Diagnosis) -> Point:
    """The digest of a diagnosis."""
    there = [variant for variant in VARIANTS[1:] if variant in diagnosis.predictions]
    layers, labels = diagnosis.layers, diagnosis.labels
    return Point(
        diagnosis.spec,
        verdict(diagnosis).status,
        diagnosis.sparsity,
        diagnosis.outcomes(),
        tuple(layer.name for layer in layers),
        {variant: tuple(finite(layer.variance_ratio(variant)) for layer in layers) for variant in there},
        {variant: tuple(finite(layer.cka.get(variant)) for layer in layers) for variant in there},
        diagnosis.kept,
        {} if labels is None else {name: each.predicted == labels for name, each in diagnosis.predictions.items()},
        diagnosis.reason,
        diagnosis.seconds,
        diagnosis.preview,
    )
