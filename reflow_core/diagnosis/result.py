"""What a diagnosis finds: frozen values from which every figure, table and sentence is a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reflow_core.signal import stats
from reflow_core.spec import Spec

ARMS = ("dense", "pruned", "repaired")
DEAD_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """What one network answered: `predicted` (N,) class indices, `confidence` (N,) their softmax, 0 to 1.

    `separability`: leave-one-out nearest-class-mean accuracy of the penultimate features on the probed images.
    `finite`: False where the network put out NaN or infinity.
    """

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    separability: float | None
    finite: bool = True

    def histogram(self, classes: int) -> NDArray[np.int64]:
        """Answers a class, (classes,)."""
        return np.bincount(self.predicted, minlength=classes)


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """One measured layer: the signal that leaves it in the dense, pruned and repaired network.

    `kind`: the module's class. `weights`: the weight layer whose output it receives, `sparsity` that layer's own
    (fraction). `variance`: by arm, per channel (C,), population variance of the output over images and positions.
    `cka`, `cosine`: similarity to dense by arm on the sketch. `eps_floor`: by arm, mean over channels of
    σ²/(σ²+ε), the share of unit variance a norm can restore; None where the layer is no norm.
    """

    name: str
    kind: str
    weights: str | None
    sparsity: float | None
    variance: Mapping[str, NDArray[np.float64]]
    cka: Mapping[str, float | None]
    cosine: Mapping[str, float | None]
    eps_floor: Mapping[str, float | None]

    def variance_ratio(self, arm: str) -> float | None:
        """Σ_c Var_arm / Σ_c Var_dense; None where the arm is missing or the dense layer is constant."""
        total = float(self.variance["dense"].sum())
        if arm not in self.variance or not total > DEAD_VARIANCE:
            return None
        return float(self.variance[arm].sum()) / total

    def channel_ratios(self, arm: str) -> NDArray[np.float64]:
        """Var_arm / Var_dense per channel (C,); NaN where the dense channel is dead (variance under 1e-12)."""
        dense = self.variance["dense"]
        alive = dense >= DEAD_VARIANCE
        return np.where(alive, self.variance[arm] / np.where(alive, dense, 1), np.nan)

    def median_ratio(self, arm: str) -> float | None:
        """Median over living channels of the per-channel ratio."""
        if arm not in self.variance:
            return None
        ratios = self.channel_ratios(arm)
        return None if np.isnan(ratios).all() else float(np.nanmedian(ratios))

    def dead_channels(self, arm: str) -> list[int]:
        """Channels whose variance is under 1e-12."""
        return [int(channel) for channel in np.flatnonzero(self.variance[arm] < DEAD_VARIANCE)]


@dataclass(frozen=True, eq=False, slots=True)
class Diagnosis:
    """The answer to one spec.

    `data`: the image set used. `labels`: (N,) or None without labels. `answers`: by arm; "repaired" is missing where
    `reason` says why. `sparsity`: the fraction really reached. `probed`: images behind `layers`. `unmeasured`:
    layers that could not be measured, with the reason. `repair_report`: what the repair changed. `notes`: what the
    person should know about the input. `kept`: whether each of a fixed sample of the weights is kept, for overlaps
    between masks. `seconds`: by stage, not part of the result's identity.
    """

    spec: Spec
    data: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64] | None
    answers: Mapping[str, Answers]
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
        return self.outcome("repaired") if "repaired" in self.answers else None

    @property
    def last(self) -> str:
        """The repaired arm, or the pruned one where there is none."""
        return "repaired" if "repaired" in self.answers else "pruned"

    @property
    def final(self) -> Outcome:
        """The summary of the last arm."""
        return self.outcome(self.last)

    def last_ratio(self, arm: str) -> float | None:
        """The variance ratio of the last measured layer; None without one, or without the arm."""
        return self.layers[-1].variance_ratio(arm) if self.layers else None

    def outcome(self, arm: str) -> Outcome:
        """The summary of one arm."""
        return outcome(self.answers[arm], self.labels, self.answers["dense"], len(self.classes))

    def outcomes(self) -> dict[str, Outcome]:
        """The summaries of all arms there are, in order."""
        return {arm: self.outcome(arm) for arm in ARMS if arm in self.answers}


def jaccard(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0 to 1: weights that both keep over weights that either keeps; 1 if neither keeps any."""
    either = int((one | other).sum())
    return float((one & other).sum() / either) if either else 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Summary of one arm. Fractions 0 to 1; `accuracy` and `ci95` are None without labels.

    `agreement`: share of images answered as dense does. `fidelity`: mean confidence in dense's answer, counted 0 where
    another is given; smoother than accuracy, needs no labels. `top_share`: share of the most frequent answer. `never`:
    indices of classes never answered. `entropy` in bits.
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


def outcome(answers: Answers, labels: NDArray[np.int64] | None, dense: Answers, classes: int) -> Outcome:
    """Summarise answers against labels (or None) and the dense network's answers."""
    counts = answers.histogram(classes)
    n = len(answers.predicted)
    correct = None if labels is None else int((answers.predicted == labels).sum())
    return Outcome(
        accuracy=None if correct is None else correct / n,
        n=n,
        ci95=None if correct is None else stats.wilson(correct, n),
        agreement=float((answers.predicted == dense.predicted).mean()),
        fidelity=float((answers.confidence * (answers.predicted == dense.predicted)).mean()),
        histogram=tuple(int(count) for count in counts),
        entropy=stats.entropy(counts),
        effective_classes=stats.effective_classes(counts),
        top_class=int(counts.argmax()),
        top_share=float(counts.max() / n),
        never=tuple(int(label) for label in np.flatnonzero(counts == 0)),
        separability=answers.separability,
        finite=answers.finite,
    )


def to_json(found: Diagnosis) -> dict[str, Any]:
    """The command line's contract: plain numbers, NaN never, one row a measured layer."""
    arms: dict[str, Any] = dict.fromkeys(ARMS)
    arms |= {arm: _outcome_json(summary, found.classes) for arm, summary in found.outcomes().items()}
    return {
        "spec": found.spec.to_dict(),
        "data": found.data,
        "classes": list(found.classes),
        **arms,
        "reason": found.reason,
        "repair": found.repair_report,
        "sparsity": found.sparsity,
        "weights": found.weights,
        "probed_images": found.probed,
        "layers": [layer_json(layer) for layer in found.layers],
        "unmeasured": [{"name": name, "reason": reason} for name, reason in found.unmeasured],
        "notes": list(found.notes),
        "seconds": dict(found.seconds),
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
    """One layer's row: ratios and similarities by arm, None where there is no such arm or value."""
    shown = ("pruned", "repaired")
    return {
        "name": layer.name,
        "kind": layer.kind,
        "weights": layer.weights,
        "sparsity": layer.sparsity,
        "channels": len(layer.variance["dense"]),
        "dead_channels": {arm: layer.dead_channels(arm) for arm in layer.variance},
        "variance_ratio": {arm: finite(layer.variance_ratio(arm)) for arm in shown},
        "median_channel_ratio": {arm: finite(layer.median_ratio(arm)) for arm in shown},
        "cka": {arm: finite(layer.cka.get(arm)) for arm in shown},
        "cosine": {arm: finite(layer.cosine.get(arm)) for arm in shown},
        "eps_floor": {arm: finite(layer.eps_floor.get(arm)) for arm in ARMS},
    }


def finite(value: float | None) -> float | None:
    """The value, or None where JSON could not hold it."""
    return value if value is not None and np.isfinite(value) else None
