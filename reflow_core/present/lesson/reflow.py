"""Step 8: REFLOW on the whole network."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What REFLOW gets to see."""
    diagnosis = seen.diagnosis
    return (
        f"Now in every BatchNorm at once. We show the pruned network {diagnosis.spec.calibration_images} "
        "[[calibration images]] from training, without labels, and let each norm store what arrives. Before that, it "
        f"predicted {percent(diagnosis.pruned.score)} correctly. {100 * diagnosis.sparsity:.0f} % of the weights stay "
        "zero."
    )


def reveal(seen: Seen) -> str:
    """What comes back."""
    diagnosis = seen.diagnosis
    if diagnosis.repaired is None:
        return f"On this network REFLOW does not apply. {diagnosis.reason}"
    last = diagnosis.layers[-1].cka if diagnosis.layers else {}
    alike = "" if last.get("repaired") is None or last.get("pruned") is None else (
        f" The last layer's similarity to dense ([[CKA]]) went from {last['pruned']:.2f} to {last['repaired']:.2f}: "
        "not only the scale is back, but the content."
    )  # fmt: skip
    return (
        f"From {percent(diagnosis.pruned.score)} to {percent(diagnosis.repaired.score)}; the [[dense]] network had "
        f"{percent(diagnosis.dense.score)}. It took {diagnosis.seconds.get('calibrate', 0):.2g} s.{alike} The repaired "
        f"network uses {diagnosis.repaired.effective_classes:.1f} classes again."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    ratio = seen.diagnosis.last_ratio("repaired")
    value = "not measured" if ratio is None else f"{ratio:.2f}"
    return (
        f"The last ratio is {value} now, but REFLOW sets it so, whatever the images say. The evidence is in what it "
        "does not set: the accuracy on images that it never saw, and the similarity to dense (CKA)."
    )


STEP = Step(
    title="REFLOW brings it back",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "reflow", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "What will the accuracy be after REFLOW?", lambda seen: 100 * seen.diagnosis.final.score, start=50
    ),
    reveal=reveal,
    formula=Formula(
        r"\text{for each norm in forward "
        r"order:}\quad(\mu,\sigma^2)\leftarrow\big(\operatorname{mean},\operatorname{var}"
        r"\big)\ \text{of}\ x\ \text{over}\ N\cdot H\cdot W",
        "N images of H × W positions; all norms before are already corrected. No weight changes by a single bit.",
        "REFLOW: arXiv 2502.15790.",
    ),
    exercise="After REFLOW every variance ratio is near 1. Why is that no evidence that it worked? What would be?",
    answer=answer,
    notes="Drag the slider afterwards: where does even REFLOW begin to fail?",
    view="Signal",
)
