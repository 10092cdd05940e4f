"""Step 8: REFLOW on the whole network."""

from __future__ import annotations

from reflow_core import numbers
from reflow_core.diagnosis.verdict import ratio_of
from reflow_core.numbers import decimal, percent, whole_percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What REFLOW gets to see."""
    diagnosis = seen.diagnosis
    return (
        f"Now do this for the whole network: it runs on up to {diagnosis.spec.calibration_images} [[calibration "
        "images]] from training, without labels, and every BatchNorm stores the mean and variance of its input. "
        f"Before that, the network predicts {percent(diagnosis.pruned.score)} correctly. "
        f"{whole_percent(diagnosis.sparsity)} of the weights stay zero."
    )


def reveal(seen: Seen) -> str:
    """What comes back."""
    diagnosis = seen.diagnosis
    if diagnosis.repaired is None:
        return f"REFLOW does not apply to this network. {diagnosis.reason}"
    seconds = diagnosis.seconds.get("calibrate")
    took = "" if seconds is None else f" Recalibrating took {numbers.seconds(seconds)}."
    last = diagnosis.layers[-1].cka if diagnosis.layers else {}
    alike = "" if last.get("repaired") is None or last.get("pruned") is None else (
        " The last layer's similarity to dense ([[CKA]]), which does not depend on scale, goes from "
        f"{last['pruned']:.2f} to {last['repaired']:.2f}."
    )  # fmt: skip
    return (
        f"The accuracy goes from {percent(diagnosis.pruned.score)} to {percent(diagnosis.repaired.score)}; the "
        f"[[dense]] network has {percent(diagnosis.dense.score)}.{took}{alike} The repaired network's predictions "
        f"have {decimal(diagnosis.repaired.effective_classes, 1)} [[effective classes]], the pruned network's "
        f"{decimal(diagnosis.pruned.effective_classes, 1)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    if seen.diagnosis.repaired is None:
        return f"There is nothing to explain here. {seen.diagnosis.reason}"
    return (
        f"The last ratio is {ratio_of(seen.diagnosis.last_ratio('repaired'))} now, but REFLOW sets it by "
        "construction. The evidence is what REFLOW does not set: the accuracy on images it has not seen, and the "
        "similarity to dense (CKA)."
    )


STEP = Step(
    title="REFLOW on the whole network",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "reflow", "criterion": "magnitude"},
    opening=opening,
    question=Question("What will the accuracy be after REFLOW?", lambda seen: 100 * seen.diagnosis.final.score),
    reveal=reveal,
    formula=Formula(
        r"\text{for each norm in forward "
        r"order:}\quad(\mu,\sigma^2)\leftarrow\big(\operatorname{mean},\operatorname{var}"
        r"\big)\ \text{of}\ x\ \text{over}\ N\cdot H\cdot W",
        "N images of H × W positions; all earlier norms are already corrected. No weight changes by a single bit.",
        "REFLOW: arXiv 2502.15790.",
    ),
    exercise="REFLOW sets the variance ratios to near 1. Why is that no evidence that it worked? What would be?",
    answer=answer,
    notes="Drag the slider afterwards: from which sparsity does REFLOW fall behind dense?",
    view="Signal",
)
