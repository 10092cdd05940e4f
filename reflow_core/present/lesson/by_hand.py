"""Step 7: REFLOW by hand, on one channel."""

from __future__ import annotations

from typing import Any

from reflow_core.present.lesson import Formula, Question, Seen, Step


def channel(seen: Seen) -> dict[str, Any]:
    """The numbers of the channel that the step works through."""
    assert seen.finding is not None
    row: dict[str, Any] = seen.finding.facts["channel"]
    return row


def restored(seen: Seen) -> float:
    """The standard deviation that leaves after the correction, in % of dense's."""
    row = channel(seen)
    return float(100 * row["out_repaired"] / row["out_dense"])


def opening(seen: Seen) -> str:
    """The numbers before the correction."""
    row = channel(seen)
    return (
        f"Take one channel: number {row['channel']} of {row['norm']}, the strongest of the last layer. BatchNorm "
        f"stored the mean {row['stored_mean']:.3f} and the standard deviation {row['stored_std']:.3f}. What "
        f"arrives now has the mean {row['arriving_mean']:.3f} and the standard deviation "
        f"{row['arriving_std']:.3f}. BatchNorm learned γ = {row['gamma']:.3f}. So what leaves has the standard "
        f"deviation |γ| · {row['arriving_std']:.3f} / {row['stored_std']:.3f} = **{row['out_pruned']:.3f}**; "
        f"in the dense network it was {row['out_dense']:.3f}. Now we store what really arrives, first in the layers "
        f"before, after which the standard deviation that reaches this one is {row['re_estimated_std']:.3f}, and "
        "then here."
    )


def reveal(seen: Seen) -> str:
    """The numbers after the correction."""
    row = channel(seen)
    return (
        f"|γ| · {row['re_estimated_std']:.3f} / {row['re_estimated_std']:.3f} = "
        f"**{row['out_repaired']:.3f}**, which is {restored(seen):.0f} % of the {row['out_dense']:.3f} that left the "
        "dense network. Two numbers were changed, a mean and a variance, and no [[weight]]. That is all that "
        "[[REFLOW]] does, in every channel of every BatchNorm, in forward order. The scale of what leaves is then "
        "|γ| by construction; whether the *content* is right is another question, and the next step asks it."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    row = channel(seen)
    before = row["gamma"] * (1.0 - row["stored_mean"]) / row["stored_std"] + row["beta"]
    after = row["gamma"] * (1.0 - row["re_estimated_mean"]) / row["re_estimated_std"] + row["beta"]
    return (
        f"Before: {row['gamma']:.3f} · (1 − {row['stored_mean']:.3f}) / {row['stored_std']:.3f} + "
        f"({row['beta']:.3f}) = {before:.3f}. After: {row['gamma']:.3f} · (1 − {row['re_estimated_mean']:.3f}) / "
        f"{row['re_estimated_std']:.3f} + ({row['beta']:.3f}) = {after:.3f}."
    )


STEP = Step(
    title="REFLOW by hand: one channel",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "What standard deviation will leave this channel afterwards, in % of the dense network's?",
        restored,
        high=150,
        start=30,
    ),
    reveal=reveal,
    formula=Formula(
        r"\mu\leftarrow\mathbb E[x^{\text{pruned}}],\quad \sigma^2\leftarrow\operatorname{Var}(x^{\text{pruned}})"
        r"\;\Rightarrow\;\operatorname{std}(y)=|\gamma|\sqrt{\frac{\sigma^2}{\sigma^2+\varepsilon}}\approx|\gamma|",
        "Store what arrives on calibration images, norm by norm in forward order; the output then has the "
        "standard deviation |γ|, as far as σ² is large beside ε.",
        "REFLOW: arXiv 2502.15790. Known before as BN tuning, for instance arXiv 2007.02491.",
    ),
    exercise="An input of 1.0 arrives at this channel. What leaves before the correction, and what after it?",
    answer=answer,
    notes="Work it out on the board with the numbers above; β is in the table of channels.",
    inspection="stale",
    table="Norms",
)
