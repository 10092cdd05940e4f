"""Step 2: what the slider does, and what half of the weights are worth."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import ratio_of
from reflow_core.numbers import count, percent, points_between, whole_percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What the slider does."""
    diagnosis = seen.diagnosis
    return (
        f"The slider sets the [[sparsity]]. At {whole_percent(diagnosis.sparsity)} it removes "
        f"{count(diagnosis.sparsity * diagnosis.weights)} of the {count(diagnosis.weights)} weights: those "
        "nearest to zero in the whole network ([[magnitude pruning]]). There is no retraining."
    )


def reveal(seen: Seen) -> str:
    """What is lost."""
    diagnosis = seen.diagnosis
    last = diagnosis.last_ratio("pruned")
    tail = "" if last is None else (
        f" But look at the last dot on the right: the last layer's [[variance ratio]] is {ratio_of(last)}."
    )  # fmt: skip
    return (
        f"Without half of its weights it predicts {percent(diagnosis.pruned.score)} correctly, compared with "
        f"{percent(diagnosis.dense.score)} before: a loss of "
        f"{points_between(diagnosis.dense.score, diagnosis.pruned.score)}. The removed half are the weights "
        f"nearest to zero.{tail}"
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    rows = {layer.weights: layer.sparsity for layer in seen.diagnosis.layers if layer.sparsity is not None}
    most, least = max(rows, key=lambda name: rows[name] or 0), min(rows, key=lambda name: rows[name] or 0)
    return (
        f"{most} lost the largest share, {percent(rows[most])} of its weights, and {least} the smallest, "
        f"{percent(rows[least])}. One threshold for all layers removes most where the most weights lie below it."
    )


STEP = Step(
    title="Remove half of the weights",
    changes=lambda collapse_at: {"sparsity": 0.5, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "Half of the weights are zero now. What will the accuracy be?", lambda seen: 100 * seen.diagnosis.pruned.score
    ),
    reveal=reveal,
    formula=Formula(
        r"w_i \leftarrow w_i\cdot \mathbf 1\left[\,|w_i| > \tau_s\right],\qquad "
        r"\tau_s=\text{the } s\text{-quantile of all } |w|",
        "Every weight below one threshold becomes zero; s is the sparsity.",
        "Han et al., Learning both Weights and Connections, arXiv 1506.02626.",
    ),
    exercise="Which layer lost the largest share of its weights, which the smallest, and why?",
    answer=answer,
    notes="Let students move the slider up from 0: where does the accuracy begin to fall?",
)
