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
    gamma, stored = f"{abs(row['gamma']):.3f}", f"{row['stored_std']:.3f}"
    return (
        f"Take one channel: number {row['channel']} of {row['norm']}, the strongest of the last layer. BatchNorm "
        f"divides its input by the stored [[standard deviation]], {stored}, and multiplies it by the learned "
        f"scale |γ| = {gamma}. In the dense network {row['dense_std']:.3f} arrives, so the output has {gamma} · "
        f"{row['dense_std']:.3f} / {stored} = **{row['out_dense']:.3f}**. (The stored value is an average over "
        f"training; these calibration images vary {compared(row['dense_std'], row['stored_std'])}.) After pruning "
        f"only {row['arriving_std']:.3f} arrives, so the output has {gamma} · {row['arriving_std']:.3f} / "
        f"{stored} = **{row['out_pruned']:.3f}**. Now we store the measured values, first in the earlier layers, "
        f"after which {row['re_estimated_std']:.3f} arrives here, and then in this one."
    )


def compared(arriving: float, stored: float) -> str:
    """How what arrives in the dense network stands to what was stored, as a person would say it."""
    if f"{arriving:.3f}" == f"{stored:.3f}":
        return "as much"
    return "a little more" if arriving > stored else "a little less"


def reveal(seen: Seen) -> str:
    """The numbers after the correction."""
    row = channel(seen)
    return (
        f"{abs(row['gamma']):.3f} · {row['re_estimated_std']:.3f} / {row['re_estimated_std']:.3f} = "
        f"**{row['out_repaired']:.3f}**: the input's and the stored standard deviation are now the same number, "
        f"so |γ| remains. That is {restored(seen):.0f} % of the {row['out_dense']:.3f} of the dense network. Two "
        "numbers changed, a mean and a variance, and no [[weight]]. That is all [[REFLOW]] does, in every "
        "channel of every BatchNorm, in forward order. The scale is right by construction; whether the *content* "
        "is right is the question of the next step."
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
        "What will this channel's output standard deviation be afterwards, in % of the dense network's?",
        restored,
        high=150,
    ),
    reveal=reveal,
    formula=Formula(
        r"\mu\leftarrow\mathbb E[x^{\text{pruned}}],\quad \sigma^2\leftarrow\operatorname{Var}(x^{\text{pruned}})"
        r"\;\Rightarrow\;\operatorname{std}(y)=|\gamma|\sqrt{\frac{\sigma^2}{\sigma^2+\varepsilon}}\approx|\gamma|",
        "Store the mean and variance measured on calibration images, norm by norm in forward order; the output "
        "then has the standard deviation |γ|, as long as σ² is much larger than ε.",
        "REFLOW: arXiv 2502.15790. Previously known as BN tuning, e.g. arXiv 2007.02491.",
    ),
    exercise="This channel's input is 1.0. What is its output before the correction, and after it?",
    answer=answer,
    notes="Compute it on the board with the numbers above; β is in the table of channels.",
    inspection="stale",
    table="Norms",
    columns={"norm": "BatchNorm", "times": "stored / input", "channels": "channels"},
)
