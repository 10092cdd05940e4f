"""Step 8: REFLOW on the whole network."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What is shown to it."""
    found = seen.found
    return (
        f"Now in every BatchNorm at once. We show the pruned network {found.spec.calibration_images} "
        "[[calibration images]] from training, without labels, and let each norm store what arrives. Before, it "
        f"answered {percent(found.pruned.score)} rightly. {100 * found.sparsity:.0f} % of the weights stay zero."
    )


def reveal(seen: Seen) -> str:
    """What comes back."""
    found = seen.found
    if found.repaired is None:
        return f"On this network REFLOW does not apply. {found.reason}"
    last = found.layers[-1].cka if found.layers else {}
    alike = "" if last.get("repaired") is None or last.get("pruned") is None else (
        f" The last layer's likeness to dense ([[CKA]]) went from {last['pruned']:.2f} to {last['repaired']:.2f}: "
        "not only the scale is back, but the content."
    )  # fmt: skip
    return (
        f"From {percent(found.pruned.score)} to {percent(found.repaired.score)}; the [[dense]] network had "
        f"{percent(found.dense.score)}. It took {found.seconds.get('calibrate', 0):.2g} s.{alike} The repaired network "
        f"uses {found.repaired.effective_classes:.1f} classes again."
    )


def answer(seen: Seen) -> str:
    """The exercise's."""
    found = seen.found
    ratio = found.last_ratio("repaired")
    told = "not measured" if ratio is None else f"{ratio:.2f}"
    return (
        f"The last ratio is {told} now, but REFLOW sets it so, whatever the images say. Evidence is what it does not "
        "set: the accuracy on images that it never saw, and the likeness to dense (CKA)."
    )


STEP = Step(
    title="REFLOW brings it back",
    changes=lambda down: {"sparsity": down, "repair": "reflow", "criterion": "magnitude"},
    opening=opening,
    question=Question("What will the accuracy be after REFLOW?", lambda seen: 100 * seen.found.final.score, start=50),
    reveal=reveal,
    formula=Formula(
        r"\text{for each norm in forward "
        r"order:}\quad(\mu,\sigma^2)\leftarrow\big(\operatorname{mean},\operatorname{var}"
        r"\big)\ \text{of}\ x\ \text{over}\ N\cdot H\cdot W",
        "N images of H × W positions; all norms before are already corrected. Every weight stays bit for bit.",
        "REFLOW: arXiv 2502.15790.",
    ),
    exercise="After REFLOW every variance ratio is near 1. Why is that no evidence that it worked? What is?",
    answer=answer,
    notes="Drag the slider afterwards: where does even REFLOW begin to fail?",
    view="Signal",
)
