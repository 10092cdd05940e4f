"""Step 6: what BatchNorm stores, and how stale it is."""

from __future__ import annotations

from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What BatchNorm does."""
    assert seen.finding is not None
    return (
        f"This network has {len(seen.finding.tables['Norms'])} layers of [[BatchNorm]]. Each subtracts a mean and "
        "divides by a [[standard deviation]], which sets the scale of the next layer's input. In training it "
        "measures both, batch by batch; at inference it reuses the [[stored statistics]]. They belong to the "
        "dense network. Pruning changes the input, but the layer still divides by the old standard deviation."
    )


def reveal(seen: Seen) -> str:
    """How far off the stored statistics are."""
    assert seen.finding is not None
    times = seen.finding.tables["Norms"].times
    return (
        f"In the first layer the stored standard deviation is {seen.facts('first'):.2f} times that of the actual "
        f"input, in the last {seen.facts('last'):.1f} times (median channel). This factor is the error of the "
        f"[[stale]] number. It is too large in {int((times > 1).sum())} of {len(times)} layers, by more than a "
        f"tenth in {int((times > 1.1).sum())}. The table lists them all."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    assert seen.finding is not None
    times = seen.finding.tables["Norms"].times
    grows = int((times.diff() > 0).sum())
    return (
        f"It goes from {times.iloc[0]:.2f} to {times.iloc[-1]:.1f} and grows in {grows} of {len(times) - 1} steps "
        "from one layer to the next. By the formula, a norm's output is too small by this factor where it is "
        "above one; the following layers receive that smaller signal, and their own pruned weights reduce it "
        "further."
    )


STEP = Step(
    title="Stale BatchNorm statistics",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "In the last layer, how many times too large is the stored standard deviation?",
        lambda seen: seen.facts("last"),
        "times",
        1.0,
        20.0,
        0.1,
    ),
    reveal=reveal,
    formula=Formula(
        r"y=\gamma\,\frac{x-\mu}{\sqrt{\sigma^2+\varepsilon}}+\beta",
        "x is the input, y the output; μ and σ² are stored, γ and β are learned, ε is a small constant.",
        "Ioffe and Szegedy, Batch Normalization, arXiv 1502.03167, algorithm 2.",
    ),
    exercise=(
        "Plot the factor over the layers from the table. Does it grow with depth, and what does the formula predict?"
    ),
    answer=answer,
    notes=(
        "A network without BatchNorm stores no statistics, and the lesson says so. LayerNorm computes them for each "
        "input."
    ),
    inspection="stale",
    view="Signal",
    table="Norms",
    columns={"norm": "BatchNorm", "times": "stored / input", "channels": "channels"},
)
