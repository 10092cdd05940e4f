"""Step 2: what the slider does, and how much can go for nothing."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent, points_of
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """The slider."""
    found = seen.found
    return (
        f"The slider sets the [[sparsity]]. At 50 % it removes {found.sparsity * found.weights:,.0f} of the "
        f"{found.weights:,} weights: those nearest to zero, wherever in the network they are "
        "([[magnitude pruning]]). Nothing is trained again afterwards."
    )


def reveal(seen: Seen) -> str:
    """The loss."""
    found = seen.found
    last = found.last_ratio("pruned")
    tail = "" if last is None else (
        f" But look at the right end of the dots: the last layer has only {last:.2f} of its [[variance]] left."
    )  # fmt: skip
    return (
        f"With half of its weights gone it still answers {percent(found.pruned.score)} rightly; it lost "
        f"{points_of(found.dense.score - found.pruned.score)}. Most weights were small, and small weights change "
        f"little. That is why everybody prunes.{tail}"
    )


def answer(seen: Seen) -> str:
    """The exercise's."""
    rows = {layer.weights: layer.sparsity for layer in seen.found.layers if layer.sparsity is not None}
    most, least = max(rows, key=lambda name: rows[name] or 0), min(rows, key=lambda name: rows[name] or 0)
    return (
        f"{most} lost most, {percent(rows[most])} of its weights, and {least} least, {percent(rows[least])}. One "
        "threshold for all layers takes most where weights are small, which is where there are many of them."
    )


STEP = Step(
    title="Half the weights are gone",
    changes=lambda down: {"sparsity": 0.5, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "Half of the weights are zero now. What will the accuracy be?", lambda seen: 100 * seen.found.pruned.score
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
    notes="Let them move the slider from 0 to 50 % themselves: hardly anything happens, which is the point.",
)
