"""Step 9: what REFLOW does not bring back."""

from __future__ import annotations

from collections.abc import Mapping

from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import point
from reflow_core.lab.frontier import inapplicable
from reflow_core.lab.study import outcomes
from reflow_core.numbers import percent, points_between, whole_percent
from reflow_core.present.figures import Chart
from reflow_core.present.figures.frontier import frontier
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.spec import Spec

FURTHER = 0.15  # beyond the sparsity at which the network has collapsed
MOST = 0.97


def others(spec: Spec) -> Mapping[str, Spec]:
    """The repair that re-fits weights, and another that leaves them as they are."""
    return {
        "statistics correction": normalize(spec, repair="statcorr"),
        "least squares": normalize(spec, repair="least-squares"),
    }


def opening(seen: Seen) -> str:
    """Further pruning."""
    return (
        f"Now prune to {whole_percent(seen.diagnosis.spec.sparsity)}: about one weight in "
        f"{round(1 / (1 - seen.diagnosis.spec.sparsity))} remains. REFLOW changes no weight; it only gives each "
        "channel of each norm a new scale and shift."
    )


def reveal(seen: Seen) -> str:
    """What is left, and what another repair makes of it."""
    diagnosis, squares = seen.diagnosis, seen.others["least squares"]
    cka = diagnosis.layers[-1].cka.get("repaired") if diagnosis.layers else None
    similarity = (
        "" if cka is None else f" The last layer's similarity to dense ([[CKA]]) is {cka:.2f}; 1 means identical."
    )
    reached = (
        f"REFLOW reaches {percent(diagnosis.final.score)}"
        if diagnosis.repaired is not None
        else f"REFLOW does not apply here, so the accuracy stays at {percent(diagnosis.final.score)}"
    )
    return (
        f"{reached}; dense has {percent(diagnosis.dense.score)}, and without repair it is "
        f"{percent(diagnosis.pruned.score)}.{similarity} A repair that also re-fits the remaining weights, by "
        f"[[least squares]] and still without labels, reaches {percent(squares.final.score)}, "
        f"{gained(diagnosis.final.score, squares.final.score)}."
    )


def gained(before: float, after: float) -> str:
    """What re-fitting adds, of the percentages as they are shown."""
    if points_between(after, before) == points_between(0, 0):
        return "the same"
    more = after > before
    return f"{points_between(max(before, after), min(before, after))} {'more' if more else 'less'}"


def costs(seen: Seen) -> Chart:
    """What each repair brings back, and in how many seconds."""
    points = [point(diagnosis) for diagnosis in (seen.diagnosis, *seen.others.values())]
    return frontier(outcomes(points), inapplicable(points))


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    diagnosis, squares = seen.diagnosis, seen.others["least squares"]
    left = round((1 - diagnosis.sparsity) * diagnosis.weights)
    return (
        f"{left:,} of {diagnosis.weights:,} weights remain and determine what each channel responds to; a scale "
        "and a shift do not change that. A channel's mean and variance are right again, but other images may "
        "make its output high or low. This shows in the similarity to dense (CKA), which does not depend on "
        f"scale. The same {left:,} weights with other values reach {percent(squares.final.score)} instead of "
        f"{percent(diagnosis.final.score)}."
    )


STEP = Step(
    title="What REFLOW cannot recover",
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
        (
            "The remaining weights (mask M) that best reproduce the dense layer's output from the pruned network's "
            "input."
        ),
        "Layer-wise least squares as in OBC, arXiv 2208.11580.",
    ),
    exercise="REFLOW restores every channel's mean and variance. Why is the accuracy still lower?",
    answer=answer,
    notes="The last picture shows the cost of each repair in seconds; the page Selection vs repair draws it for "
    "every repair at three sparsities. The Calibration page shows the effect of more images. For advanced students: "
    "BatchNorm adds a small ε to the variance before it divides, so a variance comparable to ε stays small even after "
    "REFLOW (“ε floor” on the Overview page).",
    others=others,
    view="Signal",
    picture=("What each repair costs", costs),
)
