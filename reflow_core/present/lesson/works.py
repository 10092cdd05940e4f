"""Step 1: the network before anything is pruned."""

from __future__ import annotations

import itertools

from reflow_core.diagnosis.statistics import wilson
from reflow_core.diagnosis.verdict import judged_on
from reflow_core.numbers import percent, points_between
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What kind of network it is."""
    diagnosis = seen.diagnosis
    return (
        f"Here is a trained network. It has {diagnosis.weights:,} [[weight|weights]] in its "
        f"convolution and linear [[layer|layers]], and it has learned {len(diagnosis.classes)} classes. "
        "[[pruning|Pruning]] will set weights to zero, more and more of them, and we shall watch what becomes of the "
        f"network. Nothing is pruned yet. We let it classify {judged_on(diagnosis)}."
    )


def reveal(seen: Seen) -> str:
    """How good it is."""
    dense = seen.diagnosis.dense
    low, high = dense.ci95 or (dense.score, dense.score)
    return (
        f"It predicts {percent(dense.score)} of them correctly. Over {dense.n} images the 95 % [[interval]] of this "
        f"[[accuracy]] goes from {percent(low)} to {percent(high)}. Below, each dot is a layer, first to last. "
        "Its height is the [[variance ratio]]: how much of the signal passes, measured against the unpruned network, "
        f"so here every dot lies on 1. The bars show how often each class is predicted: {dense.effective_classes:.1f} "
        f"[[effective classes]] of {len(seen.diagnosis.classes)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    dense = seen.diagnosis.dense
    low, high = dense.ci95 or (dense.score, dense.score)
    times = halving(dense.score, dense.n)
    return (
        f"The interval is {points_between(high, low)} wide at {dense.n} images. If {percent(dense.score)} of more "
        f"images were right too, it would be half as wide at about {times * dense.n:,.0f}, {times:.1f} times as many. "
        "(Where the share is far from all and from none, the width falls with the square root of the number of "
        "images.)"
    )


def halving(share: float, count: int) -> float:
    """How many times as many images, in steps of 0.1, make the interval of a share (0 to 1) half as wide."""
    low, high = wilson(round(share * count), count)
    for tenths in itertools.count(11):
        more = round(count * tenths / 10)
        left, right = wilson(round(share * more), more)
        if right - left <= (high - low) / 2:
            return tenths / 10
    raise AssertionError  # the width goes to 0


STEP = Step(
    title="A network that works",
    changes=lambda collapse_at: {"sparsity": 0.0, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "Of a hundred such images, how many will it get right?", lambda seen: 100 * seen.diagnosis.dense.score, "of 100"
    ),
    reveal=reveal,
    formula=Formula(
        r"\hat p=\frac{k}{n},\qquad \frac{\hat p+\frac{z^2}{2n}\pm z\sqrt{\frac{\hat p(1-\hat p)}{n}+\frac{z^2}{4n^2}}}"
        r"{1+\frac{z^2}{n}},\quad z=1.96",
        "k correct predictions on n images: the accuracy, and the ends of its 95 % interval.",
        "Wilson (1927), Journal of the American Statistical Association 22, 209.",
    ),
    exercise="How wide is the 95 % interval, and how many images would make it half as wide?",
    answer=answer,
    notes="Ask for a show of hands before the reveal. Point at the axis: logarithmic, one line per factor of ten.",
)
