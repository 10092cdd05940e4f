"""Step 8: REFLOW on the whole network."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import ratio_of
from reflow_core.numbers import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What REFLOW gets to see."""
    diagnosis = seen.diagnosis
    return (
        f"Now every BatchNorm of the network: it sees up to {diagnosis.spec.calibration_images} [[calibration images]] "
        "from training, without labels, and each stores what arrives. Before that, the network "
        f"predicted {percent(diagnosis.pruned.score)} correctly. {100 * diagnosis.sparsity:.0f} % of the weights stay "
        "zero."
    )


def reveal(seen: Seen) -> str:
    """What comes back."""
    diagnosis = seen.diagnosis
    if diagnosis.repaired is None:
        return f"On this network REFLOW does not apply. {diagnosis.reason}"
    seconds = diagnosis.seconds.get("calibrate")
    took = "" if seconds is None else f" Recalibrating took {seconds:.2g} s."
    last = diagnosis.layers[-1].cka if diagnosis.layers else {}
    alike = "" if last.get("repaired") is None or last.get("pruned") is None else (
        f" The last layer's similarity to dense ([[CKA]]), which no scale changes, went from {last['pruned']:.2f} to "
        f"{last['repaired']:.2f}."
    )  # fmt: skip
    return (
        f"From {percent(diagnosis.pruned.score)} to {percent(diagnosis.repaired.score)}; the [[dense]] network had "
        f"{percent(diagnosis.dense.score)}.{took}{alike} The repaired network uses "
        f"{diagnosis.repaired.effective_classes:.1f} [[effective classes]], the pruned one "
        f"{diagnosis.pruned.effective_classes:.1f}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    if seen.diagnosis.repaired is None:
        return f"There is nothing to explain here. {seen.diagnosis.reason}"
    return (
        f"The last ratio is {ratio_of(seen.diagnosis.last_ratio('repaired'))} now, but REFLOW sets it so, whatever "
        "the images say. The evidence is in what it "
        "does not set: the accuracy on images that it never saw, and the similarity to dense (CKA)."
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
        "N images of H × W positions; all norms before are already corrected. No weight changes by a single bit.",
        "REFLOW: arXiv 2502.15790.",
    ),
    exercise="REFLOW sets the variance ratios to near 1. Why is that no evidence that it worked? What would be?",
    answer=answer,
    notes="Drag the slider afterwards: from where on does REFLOW fall behind dense?",
    view="Signal",
)
