"""Step 2: what the slider does, and what half of the weights are worth."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import ratio_of
from reflow_core.numbers import percent, points_between
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What the slider does."""
    diagnosis = seen.diagnosis
    return (
        f"The slider sets the [[sparsity]]. At {100 * diagnosis.sparsity:.0f} % it removes "
        f"{diagnosis.sparsity * diagnosis.weights:,.0f} of the "
        f"{diagnosis.weights:,} weights: those nearest to zero, wherever in the network they are "
        "([[magnitude pruning]]). Nothing is trained again afterwards."
    )


def reveal(seen: Seen) -> str:
    """What is lost."""
    diagnosis = seen.diagnosis
    last = diagnosis.last_ratio("pruned")
    tail = "" if last is None else (
        " But look at the right end of the dots: the ratio of the last layer's [[variance]] to what it was is "
        f"{ratio_of(last)}."
    )  # fmt: skip
    return (
        f"With half of its weights gone it predicts {percent(diagnosis.pruned.score)} correctly, before it was "
        f"{percent(diagnosis.dense.score)}: {points_between(diagnosis.dense.score, diagnosis.pruned.score)} lost. The "
        f"half that went were the weights nearest to zero.{tail}"
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    rows = {layer.weights: layer.sparsity for layer in seen.diagnosis.layers if layer.sparsity is not None}
    most, least = max(rows, key=lambda name: rows[name] or 0), min(rows, key=lambda name: rows[name] or 0)
    return (
        f"{most} lost the most, {percent(rows[most])} of its weights, and {least} the least, {percent(rows[least])}. "
        "One threshold for all layers removes most where the largest share of the weights lies under it."
    )


STEP = Step(
    title="Half the weights are gone",
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
    notes="Let them move the slider from 0 upward themselves: where does the accuracy begin to move?",
)
