"""The verdict: what a diagnosis means, in plain words, with its evidence and visible thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reflow_core import numbers
from reflow_core.diagnosis.result import Diagnosis, Outcome
from reflow_core.diagnosis.statistics import paired_difference, wilson
from reflow_core.numbers import chance, count, decimal, in_points, percent, whole_percent
from reflow_core.repairs import repairs
from reflow_core.signal.layer_statistics import Layer

HEALTHY, DEGRADED, COLLAPSED = "healthy", "degraded", "collapsed"  # the pruned network
RECOVERED, PARTLY, NOT_RECOVERED = "recovered", "partly recovered", "not recovered"  # after a repair
SMALL_LOSS = 0.02
LARGEST_LOSS = 0.05
NEAR_CHANCE = 0.1
WEAK_SIGNAL = 0.1
AMPLIFIED = 2.0

THRESHOLDS = (
    "These levels are conventions of this lab. A network's loss is its accuracy below dense on the same images, with "
    "its paired 95 % interval (Tango); without labels, agreement with dense stands for accuracy. The pruned network is "
    f"healthy if it loses at most {in_points(SMALL_LOSS)}, or if the whole interval is at most "
    f"{in_points(LARGEST_LOSS)}; collapsed if the 95 % interval of its accuracy (Wilson) reaches as low as chance plus "
    f"{whole_percent(NEAR_CHANCE)} of the distance from chance to dense; degraded otherwise. If it is not healthy, a "
    "repair is judged as well. Recovered: the repaired network meets the rule for healthy. Not recovered: it meets the "
    "rule for collapsed, or it is not significantly better than the pruned network (paired 95 % interval). Partly "
    f"recovered: otherwise. A layer's signal counts as lost below {WEAK_SIGNAL:g} of its dense variance, and as "
    f"amplified above {AMPLIFIED:g} times it, which is not a sign of health."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status`: one of the six levels above. `layer`: where the signal is first lost, or is weakest."""

    status: str
    headline: str
    evidence: tuple[str, ...]
    layer: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a variant stands between chance and dense, all fractions.

    `loss`: accuracy below dense, `most`: the upper end of its paired interval. `low`: the lower end of the accuracy's
    Wilson interval. `chance`, `dense`: the accuracies of a guess and of the dense network.
    """

    loss: float
    most: float
    low: float
    chance: float
    dense: float

    @property
    def close_to_dense(self) -> bool:
        """Whether nearly nothing is lost."""
        return self.loss <= SMALL_LOSS or self.most <= LARGEST_LOSS

    @property
    def close_to_chance(self) -> bool:
        """Whether the variant is not shown to be clearly better than a guess."""
        return self.low <= self.chance + NEAR_CHANCE * (self.dense - self.chance)


def verdict(diagnosis: Diagnosis) -> Verdict:
    """Judge a diagnosis by the thresholds above."""
    weak = weak_layer(diagnosis)
    evidence = [_spread(diagnosis), *([] if weak is None else [_signal(diagnosis, weak)]), *_amplified(diagnosis)]
    return Verdict(status(diagnosis), _headline(diagnosis), tuple(evidence), None if weak is None else weak.name)


def status(diagnosis: Diagnosis) -> str:
    """The level of a diagnosis: of the pruned network, or of its repair where the pruned one is not healthy."""
    pruned = level(standing(diagnosis, "pruned"))
    if diagnosis.repaired is None or pruned == HEALTHY:
        return pruned
    return level_of_repair(standing(diagnosis, "repaired"), least_gain(diagnosis))


def level(pruned: Standing) -> str:
    """The level of a network that nothing repaired."""
    if pruned.close_to_dense:
        return HEALTHY
    return COLLAPSED if pruned.close_to_chance else DEGRADED


def level_of_repair(repaired: Standing, gain: float) -> str:
    """The level of a repaired network; `gain`: the lower end of what it certainly gained over the pruned one."""
    if repaired.close_to_dense:
        return RECOVERED
    return NOT_RECOVERED if repaired.close_to_chance or gain <= 0 else PARTLY


def standing(diagnosis: Diagnosis, variant: str) -> Standing:
    """Where a variant of a diagnosis stands."""
    own, dense = _right(diagnosis, variant), _right(diagnosis, "dense")
    loss, _, most = paired_difference(dense, own)
    low, _ = wilson(int(own.sum()), len(own))
    return Standing(loss, most, low, 1 / len(diagnosis.classes), float(dense.mean()))


def least_gain(diagnosis: Diagnosis) -> float:
    """The lower end of the paired interval of what the repair gained over the pruned network, a fraction."""
    return paired_difference(_right(diagnosis, "repaired"), _right(diagnosis, "pruned"))[1]


def _right(diagnosis: Diagnosis, variant: str) -> NDArray[np.bool_]:
    """Which predictions (N,) are right; where accuracy says nothing, which agree with dense."""
    labels, dense = diagnosis.labels, diagnosis.dense.accuracy
    judged_by_labels = labels is not None and dense is not None and dense > 1 / len(diagnosis.classes)
    truth = labels if judged_by_labels else diagnosis.predictions["dense"].predicted
    return np.asarray(diagnosis.predictions[variant].predicted == truth)


def weak_layer(diagnosis: Diagnosis) -> Layer | None:
    """The first layer whose pruned variance ratio is under WEAK_SIGNAL, else the weakest; None if none is measured."""
    measured = [(ratio, layer) for layer in diagnosis.layers if (ratio := layer.variance_ratio("pruned")) is not None]
    if not measured:
        return None
    failing = [layer for ratio, layer in measured if ratio < WEAK_SIGNAL]
    return failing[0] if failing else min(measured, key=lambda pair: pair[0])[1]


def ratio_of(ratio: float | None) -> str:
    """A variance ratio as text: 0.033; above AMPLIFIED it is called so, for it is no sign of health."""
    if ratio is None:
        return "not measured"
    return f"{numbers.ratio(ratio)}, amplified" if ratio > AMPLIFIED else numbers.ratio(ratio)


def judged_on(diagnosis: Diagnosis) -> str:
    """The images behind the accuracies, as text: 700 test images."""
    return f"{diagnosis.dense.n} {'test' if diagnosis.spec.evaluation_split == 'test' else 'training'} images"


def _score(summary: Outcome) -> str:
    return percent(summary.score)


def _headline(diagnosis: Diagnosis) -> str:
    measure = "accuracy" if diagnosis.labels is not None else "agreement with dense"
    pruned = level(standing(diagnosis, "pruned"))
    fall = (
        f"{whole_percent(diagnosis.sparsity)} of the weights removed: {measure} "
        f"{'stays at' if pruned == HEALTHY else 'falls to'} {_score(diagnosis.pruned)} "
        f"(dense {_score(diagnosis.dense)})"
    )
    return fall + ("." if diagnosis.repaired is None else f"; {_repaired(diagnosis, diagnosis.repaired)}.")


def _repaired(diagnosis: Diagnosis, repaired: Outcome) -> str:
    name = repairs[diagnosis.spec.repair].info.title
    reached = status(diagnosis)
    if reached == NOT_RECOVERED and least_gain(diagnosis) <= 0:
        return f"{name} does not help: {_score(repaired)}"
    sentences = {
        RECOVERED: f"{name} recovers it to {_score(repaired)}",
        PARTLY: f"{name} recovers only part of it: {_score(repaired)}",
        NOT_RECOVERED: f"{name} does not recover it: {_score(repaired)}",
    }
    return sentences.get(reached, f"with {name} {_score(repaired)}")


def _spread(diagnosis: Diagnosis) -> str:
    summary, classes, own = diagnosis.pruned, diagnosis.classes, diagnosis.images_effective_classes
    images = "" if own is None else f" (the images themselves: {decimal(own, 1)})"
    return (
        f"{percent(summary.top_share)} of the pruned network's predictions are “{classes[summary.top_class]}” "
        f"(an even spread would give {chance(len(classes))}); "
        f"{decimal(summary.effective_classes, 1)} effective classes of {count(len(classes))}{images}."
    )


def amplified(diagnosis: Diagnosis, variant: str) -> list[Layer]:
    """The layers whose signal has more than AMPLIFIED times its dense variance, in the order of execution."""
    return [layer for layer in diagnosis.layers if (layer.variance_ratio(variant) or 0) > AMPLIFIED]


def _amplified(diagnosis: Diagnosis) -> Iterator[str]:
    for variant in ("pruned", "repaired"):
        if layers := amplified(diagnosis, variant):
            most = max(layers, key=lambda layer: layer.variance_ratio(variant) or 0)
            yield (
                f"The {variant} network's signal is amplified in {len(layers)} of {len(diagnosis.layers)} layers, most "
                f"at {most.name}: ratio {numbers.ratio(most.variance_ratio(variant))}, an overshoot."
            )


def _signal(diagnosis: Diagnosis, layer: Layer) -> str:
    ratio = layer.variance_ratio("pruned")
    place = [other.name for other in diagnosis.layers].index(layer.name) + 1
    where = f"{layer.name} (layer {place} of {len(diagnosis.layers)})"
    assert ratio is not None
    if ratio < WEAK_SIGNAL:
        return f"The signal first falls below a tenth of its dense variance at {where}: ratio {numbers.ratio(ratio)}."
    return f"The signal is weakest at {where}: {numbers.ratio(ratio)} of its dense variance."
