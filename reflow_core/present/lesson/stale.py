"""Step 6: what BatchNorm stores, and why it is stale."""

from __future__ import annotations

from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What BatchNorm does."""
    return (
        "Look at what follows every convolution: [[BatchNorm]]. It subtracts a mean and divides by a "
        "[[standard deviation]], so that the next layer always gets numbers of the same size. In training it measured "
        "both, batch by batch. In use it does not measure again: it uses the [[stored statistics]]. They were right "
        "for the dense network. But less arrives now, and it still divides by the old standard deviation."
    )


def reveal(seen: Seen) -> str:
    """How far off the stored statistics are."""
    return (
        f"In the first layer the stored standard deviation is {seen.facts('first'):.2f} times the one that arrives, in "
        f"the last {seen.facts('last'):.1f} times (the median channel). BatchNorm divides by a number that is too "
        "large by that factor. Its whole purpose is to set the scale right, and with [[stale]] numbers it sets it "
        "wrong, in every layer anew. The table lists all layers."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    assert seen.finding is not None
    times = seen.finding.tables["Norms"].times
    return (
        f"From {times.iloc[0]:.2f} to {times.iloc[-1]:.1f} the error grows with depth: each layer starts from a signal "
        "that the layers before it made too small, and adds its own loss."
    )


STEP = Step(
    title="What BatchNorm remembers is out of date",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "In the last layer: how many times too large is the stored standard deviation?",
        lambda seen: seen.facts("last"),
        "times",
        1.0,
        20.0,
        2.0,
        0.1,
    ),
    reveal=reveal,
    formula=Formula(
        r"y=\gamma\,\frac{x-\mu}{\sqrt{\sigma^2+\varepsilon}}+\beta",
        "x arrives, y leaves; μ and σ² are stored, γ and β are learned, ε is a small constant.",
        "Ioffe and Szegedy, Batch Normalization, arXiv 1502.03167, algorithm 2.",
    ),
    exercise="Plot the factor over the layers from the table. Why does it grow?",
    answer=answer,
    notes="A network without BatchNorm stores nothing, and the lesson says so. LayerNorm measures anew each time.",
    inspection="stale",
    view="Signal",
    table="Norms",
)
