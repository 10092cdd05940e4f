"""Step 9: what REFLOW does not bring back."""

from __future__ import annotations

from collections.abc import Mapping

from reflow_core.diagnosis.fields import normalize
from reflow_core.numbers import percent, points_between
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.spec import Spec

FURTHER = 0.15  # beyond the sparsity at which the network has collapsed
MOST = 0.97


def others(spec: Spec) -> Mapping[str, Spec]:
    """The repair that re-fits weights."""
    return {"least squares": normalize(spec, repair="least-squares")}


def opening(seen: Seen) -> str:
    """Further pruning."""
    return (
        f"We go on, to {100 * seen.diagnosis.spec.sparsity:.0f} %: about one weight in "
        f"{round(1 / (1 - seen.diagnosis.spec.sparsity))} is left. REFLOW changes no weight: it gives "
        "each channel of each norm another scale and another shift, and nothing else."
    )


def reveal(seen: Seen) -> str:
    """What is left, and what another repair makes of it."""
    diagnosis, squares = seen.diagnosis, seen.others["least squares"]
    cka = diagnosis.layers[-1].cka.get("repaired") if diagnosis.layers else None
    similarity = (
        ""
        if cka is None
        else f" The last layer's similarity to dense ([[CKA]]) is {cka:.2f}, where 1 would be the same."
    )
    reached = (
        f"REFLOW reaches {percent(diagnosis.final.score)}"
        if diagnosis.repaired is not None
        else f"REFLOW does not apply here, so that it stays at {percent(diagnosis.final.score)}"
    )
    return (
        f"{reached}; dense has {percent(diagnosis.dense.score)}, unrepaired it is {percent(diagnosis.pruned.score)}."
        f"{similarity} A repair that also re-fits the weights that are left, by [[least squares]] and still "
        f"without labels, reaches {percent(squares.final.score)}, {gained(diagnosis.final.score, squares.final.score)}."
    )


def gained(before: float, after: float) -> str:
    """What re-fitting adds, of the percentages as they are shown."""
    if points_between(after, before) == points_between(0, 0):
        return "the same"
    more = after > before
    return f"{points_between(max(before, after), min(before, after))} {'more' if more else 'less'}"


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    diagnosis, squares = seen.diagnosis, seen.others["least squares"]
    left = round((1 - diagnosis.sparsity) * diagnosis.weights)
    return (
        f"{left:,} of {diagnosis.weights:,} weights are left to say what each channel responds to, and a scale and a "
        "shift change nothing about that: the spread of a channel is right again, but it may be other images that make "
        f"it high or low. That shows in the similarity to dense (CKA), which no scale changes. The same {left:,} "
        f"weights with other values reach {percent(squares.final.score)} instead of {percent(diagnosis.final.score)}."
    )


STEP = Step(
    title="What REFLOW does not bring back",
    changes=lambda collapse_at: {
        "sparsity": min(round(collapse_at + FURTHER, 2), MOST),
        "repair": "reflow",
        "criterion": "magnitude",
    },
    opening=opening,
    question=Question("What will the accuracy be after REFLOW now?", lambda seen: 100 * seen.diagnosis.final.score),
    reveal=reveal,
    formula=Formula(
        r"\hat W=\arg\min_{W\odot M}\ \lVert W\tilde X-W_0X\rVert^2+\lambda\lVert W-W_0\rVert^2",
        "The surviving weights (mask M) that best reproduce the dense layer's output from what arrives now.",
        "Layer-wise least squares as in OBC, arXiv 2208.11580.",
    ),
    exercise="REFLOW gives every channel its mean and its spread again. Why is the accuracy still lower?",
    answer=answer,
    notes="What each repair costs stands beneath the panels in seconds; the Calibration page shows what more images "
    "give. For those who ask further: BatchNorm adds a small ε to the variance before it divides, so that a variance "
    "that is not large beside ε stays small even after REFLOW (“ε floor” on the Overview page).",
    others=others,
    view="Signal",
)
