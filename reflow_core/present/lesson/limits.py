"""Step 9: what REFLOW cannot bring back."""

from __future__ import annotations

from collections.abc import Mapping

from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.spec import Spec

FURTHER = 0.15  # beyond the sparsity at which the network has collapsed
MOST = 0.97


def others(spec: Spec) -> Mapping[str, Spec]:
    """The repair that re-fits weights."""
    return {"least squares": normalize(spec, repair="least-squares")}


def opening(seen: Seen) -> str:
    """Further pruning, and the ε floor."""
    return (
        f"We go on, to {100 * seen.diagnosis.spec.sparsity:.0f} %: one weight in "
        f"{round(1 / (1 - seen.diagnosis.spec.sparsity))} is left. REFLOW can set the scale of what arrives. It cannot "
        "bring back what no longer arrives at all. And there is a [[floor]]: BatchNorm adds a small ε to the variance "
        "before it divides, and a signal smaller than that stays small."
    )


def reveal(seen: Seen) -> str:
    """What is left, and what another repair makes of it."""
    diagnosis, squares = seen.diagnosis, seen.others["least squares"]
    floors = [value for layer in diagnosis.layers if (value := layer.eps_floor.get("repaired")) is not None]
    floor = (
        f" In the worst layer the ε floor lets only {100 * min(floors):.0f} % of unit variance through."
        if floors
        else ""
    )
    cka = diagnosis.layers[-1].cka.get("repaired") if diagnosis.layers else None
    similarity = "" if cka is None else f" The last layer's similarity to dense (CKA) is {cka:.2f}."
    gain = squares.final.score - diagnosis.final.score
    verdict = (
        f"so {100 * gain:.0f} points of what looked lost could still be recovered: the surviving weights carried it, "
        "but with the wrong values"
        if gain > 0.01
        else "so here the values of the surviving weights were not the problem"
    )
    return (
        f"REFLOW reaches {percent(diagnosis.final.score)} of {percent(diagnosis.dense.score)} (pruned "
        f"{percent(diagnosis.pruned.score)}).{floor}{similarity} A repair that also re-fits the weights that are left, "
        f"by [[least squares]] and still without labels, reaches {percent(squares.final.score)}: {verdict}. What "
        "neither brings back is gone."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    return (
        "With ε = 0.00001: σ² = 0.001 gives 0.001 / 0.00101 = 99 %; σ² = 0.00001 gives 50 %; σ² = 0.0000001 gives 1 %. "
        "The ε is there so that the norm never divides by zero, and now it holds the signal down."
    )


STEP = Step(
    title="What REFLOW cannot bring back",
    changes=lambda collapse_at: {
        "sparsity": min(round(collapse_at + FURTHER, 2), MOST),
        "repair": "reflow",
        "criterion": "magnitude",
    },
    opening=opening,
    question=Question(
        "What will the accuracy be after REFLOW now?", lambda seen: 100 * seen.diagnosis.final.score, start=90
    ),
    reveal=reveal,
    formula=Formula(
        r"\frac{\sigma^2}{\sigma^2+\varepsilon},\qquad \hat W=\arg\min_{W\odot M}\ \lVert W\tilde X-W_0X\rVert^2"
        r"+\lambda\lVert W-W_0\rVert^2",
        "The share of unit variance that a norm can restore; and the surviving weights (mask M) that best "
        "reproduce the dense layer's output from what arrives now.",
        "The ε floor follows from BatchNorm's definition; layer-wise least squares as in OBC, arXiv 2208.11580.",
    ),
    exercise="With ε = 0.00001, what share of unit variance does a norm restore for σ² = 0.001, 0.00001, 0.0000001?",
    answer=answer,
    notes="Honest limits convince. Least squares costs more time; the Calibration page shows how many images it needs.",
    others=others,
    view="Signal",
)
