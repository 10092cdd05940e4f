"""What a diagnosis finds: frozen values from which every figure, table and sentence is a pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reflow_core.diagnosis import statistics
from reflow_core.numbers import finite
from reflow_core.repairs.training import Curve
from reflow_core.signal.layer_statistics import Layer, LayerStatistics
from reflow_core.signal.predictions import Predictions
from reflow_core.spec import Spec

VARIANTS = ("dense", "pruned", "repaired")


@dataclass(frozen=True, eq=False, slots=True)
class Diagnosis:
    """The answer to one spec.

    `data`: the image set used. `labels`: (N,) or None without labels. `predictions`: by variant; "repaired" is missing
    where `reason` says why. `sparsity`: the fraction really reached. `probed`: images behind `layers`. `unmeasured`:
    layers that could not be measured, with the reason. `repair_report`: what the repair changed. `notes`: what the
    person should know about the input. `kept`: whether each of a fixed sample of the weights is kept, for overlaps
    between masks. `seconds`: by stage, not part of the result's identity. `recalibrated_dense`: the control, what the
    dense network predicts once REFLOW recalibrated it on the same calibration set. `preview`: whether the pruned and
    the repaired network computed in bfloat16. `curve`: how a repair that trains went.
    """

    spec: Spec
    data: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64] | None
    predictions: Mapping[str, Predictions]
    layers: tuple[Layer, ...]
    sparsity: float
    weights: int
    probed: int
    reason: str | None = None
    repair_report: str | None = None
    unmeasured: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    kept: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    seconds: Mapping[str, float] = field(default_factory=dict)
    recalibrated_dense: Predictions | None = None
    preview: bool = False
    curve: Curve | None = None

    @property
    def control(self) -> Outcome | None:
        """The summary of the dense network recalibrated by REFLOW; None without training images or BatchNorm."""
        predictions, dense = self.recalibrated_dense, self.predictions["dense"]
        return None if predictions is None else outcome(predictions, self.labels, dense, len(self.classes))

    @property
    def images_effective_classes(self) -> float | None:
        """The effective number of classes of the images' own labels, 1 to K; None without labels."""
        labels = self.labels
        return None if labels is None else statistics.effective_classes(np.bincount(labels, minlength=1))

    @property
    def dense(self) -> Outcome:
        """The summary of the unpruned network."""
        return self.outcome("dense")

    @property
    def pruned(self) -> Outcome:
        """The summary of the pruned network."""
        return self.outcome("pruned")

    @property
    def repaired(self) -> Outcome | None:
        """The summary of the repaired network; None where `reason` says why there is none."""
        return self.outcome("repaired") if "repaired" in self.predictions else None

    @property
    def last(self) -> str:
        """The repaired variant, or the pruned one where there is none."""
        return "repaired" if "repaired" in self.predictions else "pruned"

    @property
    def final(self) -> Outcome:
        """The summary of the last variant."""
        return self.outcome(self.last)

    def last_ratio(self, variant: str) -> float | None:
        """The variance ratio of the last measured layer; None without one, or without the variant."""
        return self.layers[-1].variance_ratio(variant) if self.layers else None

    def outcome(self, variant: str) -> Outcome:
        """The summary of one variant."""
        return outcome(self.predictions[variant], self.labels, self.predictions["dense"], len(self.classes))

    def outcomes(self) -> dict[str, Outcome]:
        """The summaries of all variants there are, in order."""
        return {variant: self.outcome(variant) for variant in VARIANTS if variant in self.predictions}


def jaccard(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0 to 1: weights that both keep over weights that either keeps; 1 if neither keeps any."""
    either = int((one | other).sum())
    return float((one & other).sum() / either) if either else 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Summary of one variant. Fractions 0 to 1; `accuracy` and `ci95` are None without labels.

    `agreement`: share of images predicted as dense does. `fidelity`: mean confidence in dense's prediction, counted 0
    where another is given; smoother than accuracy, needs no labels. `top_share`: share of the most frequent prediction.
    `never`: indices of classes never predicted. `entropy` in bits.
    """

    accuracy: float | None
    n: int
    ci95: tuple[float, float] | None
    agreement: float
    fidelity: float
    histogram: tuple[int, ...]
    entropy: float
    effective_classes: float
    top_class: int
    top_share: float
    never: tuple[int, ...]
    separability: float | None
    finite: bool

    @property
    def score(self) -> float:
        """Accuracy, or agreement with dense without labels."""
        return self.agreement if self.accuracy is None else self.accuracy


def outcome(predictions: Predictions, labels: NDArray[np.int64] | None, dense: Predictions, classes: int) -> Outcome:
    """Summarize predictions against labels (or None) and the dense network's predictions."""
    counts = predictions.histogram(classes)
    n = len(predictions.predicted)
    correct = None if labels is None else int((predictions.predicted == labels).sum())
    return Outcome(
        accuracy=None if correct is None else correct / n,
        n=n,
        ci95=None if correct is None else statistics.wilson(correct, n),
        agreement=float((predictions.predicted == dense.predicted).mean()),
        fidelity=float((predictions.confidence * (predictions.predicted == dense.predicted)).mean()),
        histogram=tuple(int(count) for count in counts),
        entropy=statistics.entropy(counts),
        effective_classes=statistics.effective_classes(counts),
        top_class=int(counts.argmax()),
        top_share=float(counts.max() / n),
        never=tuple(int(label) for label in np.flatnonzero(counts == 0)),
        separability=predictions.separability,
        finite=predictions.finite,
    )


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The command line's contract: plain numbers, NaN never, one row a measured layer."""
    variants: dict[str, Any] = dict.fromkeys(VARIANTS)
    variants |= {
        variant: _outcome_json(summary, diagnosis.classes) for variant, summary in diagnosis.outcomes().items()
    }
    return {
        "spec": diagnosis.spec.to_dict(),
        "data": diagnosis.data,
        "classes": list(diagnosis.classes),
        **variants,
        "control": None if diagnosis.control is None else _outcome_json(diagnosis.control, diagnosis.classes),
        "reason": diagnosis.reason,
        "repair": diagnosis.repair_report,
        "sparsity": diagnosis.sparsity,
        "weights": diagnosis.weights,
        "probed_images": diagnosis.probed,
        "layers": [layer_json(layer) for layer in diagnosis.layers],
        "unmeasured": [{"name": name, "reason": reason} for name, reason in diagnosis.unmeasured],
        "notes": list(diagnosis.notes),
        "seconds": dict(diagnosis.seconds),
    }


def _outcome_json(summary: Outcome, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "accuracy": summary.accuracy,
        "n": summary.n,
        "ci95": None if summary.ci95 is None else list(summary.ci95),
        "agreement_with_dense": summary.agreement,
        "fidelity": finite(summary.fidelity),
        "histogram": list(summary.histogram),
        "entropy": summary.entropy,
        "effective_classes": summary.effective_classes,
        "top_class": classes[summary.top_class],
        "top_share": summary.top_share,
        "classes_never_predicted": [classes[label] for label in summary.never],
        "separability": summary.separability,
        "finite": summary.finite,
    }


def layer_json(layer: Layer) -> dict[str, Any]:
    """One layer's row: ratios and similarities by variant, None where there is no such variant or value."""
    shown = {variant: layer.statistics(variant) for variant in VARIANTS[1:] if variant in layer.variance}

    def each(value: Callable[[LayerStatistics], float | None]) -> dict[str, float | None]:
        return {name: value(shown[name]) if name in shown else None for name in VARIANTS[1:]}

    return {
        "name": layer.name,
        "kind": layer.kind,
        "weights": layer.weights,
        "sparsity": layer.sparsity,
        "channels": len(layer.variance["dense"]),
        "dead_channels": {variant: layer.dead_channels(variant) for variant in layer.variance},
        "variance_ratio": each(lambda row: row.variance_ratio),
        "median_channel_ratio": each(lambda row: row.median_channel_ratio),
        "cka": each(lambda row: row.cka),
        "cosine": each(lambda row: row.cosine),
        "eps_floor": {variant: finite(layer.eps_floor.get(variant)) for variant in VARIANTS},
    }
