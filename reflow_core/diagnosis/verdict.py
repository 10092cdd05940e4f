"""The verdict: what a diagnosis means, in plain words, with its evidence and visible thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reflow_core.diagnosis.result import Diagnosis, Outcome
from reflow_core.signal.layer_statistics import Layer

HEALTHY, DEGRADING, COLLAPSED, RESCUED = "healthy", "degrading", "collapsed", "rescued"
HEALTHY_SKILL = 0.95
COLLAPSED_SKILL = 0.5
RESCUED_SKILL = 0.75
WEAK_SIGNAL = 0.1
AMPLIFIED = 2.0
SMALLEST_SHOWN = 0.0005  # a fraction under it would round to 0.0 %

THRESHOLDS = (
    "These thresholds are conventions of this lab. Skill is accuracy above chance, as a share of the dense network's "
    "(without labels: agreement with dense). "
    f"Healthy: pruned skill at least {HEALTHY_SKILL:.0%}. Degrading: {COLLAPSED_SKILL:.0%} to {HEALTHY_SKILL:.0%}. "
    f"Collapsed: under {COLLAPSED_SKILL:.0%}. Rescued: pruned not healthy, repaired skill at least {RESCUED_SKILL:.0%} "
    f"and above pruned. A layer's signal counts as lost under {WEAK_SIGNAL:g} of its dense variance, as "
    f"amplified above {AMPLIFIED:g} times it, which is no sign of health."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status`: healthy, degrading, collapsed or rescued. `layer`: where the signal first fails, or is weakest."""

    status: str
    headline: str
    evidence: tuple[str, ...]
    layer: str | None


def verdict(diagnosis: Diagnosis) -> Verdict:
    """Judge a diagnosis by the thresholds above."""
    pruned, repaired = skill(diagnosis, "pruned"), skill(diagnosis, "repaired") if diagnosis.repaired else None
    status = judge(pruned, repaired)
    weak = weak_layer(diagnosis)
    evidence = [_spread(diagnosis), *([] if weak is None else [_signal(diagnosis, weak)]), *_amplified(diagnosis)]
    return Verdict(status, _headline(diagnosis, status, repaired), tuple(evidence), None if weak is None else weak.name)


def judge(pruned: float, repaired: float | None) -> str:
    """The status for the skills (fractions) of the pruned and the repaired network."""
    if pruned >= HEALTHY_SKILL:
        return HEALTHY
    if repaired is not None and repaired >= max(RESCUED_SKILL, pruned):
        return RESCUED
    return DEGRADING if pruned >= COLLAPSED_SKILL else COLLAPSED


def skill(diagnosis: Diagnosis, variant: str) -> float:
    """Accuracy above chance as a share of dense's; agreement with dense where accuracy says nothing."""
    summary, dense = diagnosis.outcome(variant), diagnosis.dense
    chance = 1 / len(diagnosis.classes)
    if summary.accuracy is None or dense.accuracy is None or dense.accuracy <= chance:
        return (summary.agreement - chance) / (1 - chance)
    return (summary.accuracy - chance) / (dense.accuracy - chance)


def weak_layer(diagnosis: Diagnosis) -> Layer | None:
    """The first layer whose pruned variance ratio is under WEAK_SIGNAL, else the weakest; None if none is measured."""
    measured = [(ratio, layer) for layer in diagnosis.layers if (ratio := layer.variance_ratio("pruned")) is not None]
    if not measured:
        return None
    failing = [layer for ratio, layer in measured if ratio < WEAK_SIGNAL]
    return failing[0] if failing else min(measured, key=lambda pair: pair[0])[1]


def percent(share: float | None) -> str:
    """A fraction as text: 99.1 %; one above 0 never as 0: 0.02 %."""
    if share is None:
        return "not available"
    return f"{100 * share:.1g} %" if 0 < share < SMALLEST_SHOWN else f"{100 * share:.1f} %"


def whole_percent(share: float) -> str:
    """A fraction as text without decimals; one above 0 never as 0: 99 %, 0.4 %."""
    return f"{100 * share:.1g} %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def points_of(loss: float) -> str:
    """A loss (fraction) as text: 1.2 points."""
    return f"{100 * loss + 0.0:.1f} points"


def points_between(before: float, after: float) -> str:
    """What lies between two fractions that stand beside it: of what is shown, so that 99.1 and 13.6 make 85.5."""
    shown = [round(100 * share, 1) for share in (before, after)]
    return points_of((shown[0] - shown[1]) / 100)


def chance(classes: int) -> str:
    """What an even spread over so many classes gives each, as text: 10 %, 14.3 %, 0.1 %."""
    return f"{100 / classes:.3g} %"


def ratio_of(ratio: float | None) -> str:
    """A variance ratio as text: 0.033; above AMPLIFIED it is called so, for it is no sign of health."""
    if ratio is None:
        return "not measured"
    return f"{ratio:.2g}, amplified" if ratio > AMPLIFIED else f"{ratio:.2g}"


def judged_on(diagnosis: Diagnosis) -> str:
    """The images behind the accuracies, as text: 700 test images."""
    return f"{diagnosis.dense.n} {'test' if diagnosis.spec.evaluation_split == 'test' else 'training'} images"


def _score(summary: Outcome) -> str:
    return percent(summary.score)


def _headline(diagnosis: Diagnosis, status: str, repaired: float | None) -> str:
    measure = "accuracy" if diagnosis.labels is not None else "agreement with dense"
    moves = "stays at" if status == HEALTHY else "falls to"
    fall = (
        f"{100 * diagnosis.sparsity:.0f} % of the weights removed: {measure} {moves} {_score(diagnosis.pruned)} "
        f"(dense {_score(diagnosis.dense)})"
    )
    if diagnosis.repaired is None:
        return f"{fall}."
    name = "REFLOW" if diagnosis.spec.repair == "reflow" else diagnosis.spec.repair
    brings = {
        HEALTHY: f"with {name} {_score(diagnosis.repaired)}",
        RESCUED: f"{name} brings it back to {_score(diagnosis.repaired)}",
    }.get(status, f"{name} brings back only a part, {_score(diagnosis.repaired)}")
    if repaired is not None and repaired <= skill(diagnosis, "pruned") and status != HEALTHY:
        brings = f"{name} does not help, {_score(diagnosis.repaired)}"
    return f"{fall}; {brings}."


def _spread(diagnosis: Diagnosis) -> str:
    summary, classes, own = diagnosis.pruned, diagnosis.classes, diagnosis.images_effective_classes
    images = "" if own is None else f", the images' own are {own:.1f}"
    return (
        f"{percent(summary.top_share)} of the pruned network's predictions are “{classes[summary.top_class]}” "
        f"(an even spread would give {chance(len(classes))}); "
        f"{summary.effective_classes:.1f} effective classes of {len(classes)}{images}."
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
                f"at {most.name}: ratio {most.variance_ratio(variant):.2g}, which is an overshoot."
            )


def _signal(diagnosis: Diagnosis, layer: Layer) -> str:
    ratio = layer.variance_ratio("pruned")
    place = [other.name for other in diagnosis.layers].index(layer.name) + 1
    where = f"{layer.name} (layer {place} of {len(diagnosis.layers)})"
    assert ratio is not None
    if ratio < WEAK_SIGNAL:
        return f"The signal first falls under a tenth of its dense variance at {where}: ratio {ratio:.2g}."
    return f"The signal is weakest at {where}: ratio {ratio:.2g} of its dense variance."
