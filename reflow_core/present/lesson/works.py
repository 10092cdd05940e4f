"""Step 1: the network before anything is pruned."""

from __future__ import annotations

import itertools

from reflow_core.diagnosis.statistics import wilson
from reflow_core.diagnosis.verdict import judged_on
from reflow_core.numbers import count, decimal, percent, points_between
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What kind of network it is."""
    diagnosis = seen.diagnosis
    return (
        f"Here is a trained network. It has {diagnosis.weights:,} [[weight|weights]] in its convolution and "
        f"linear [[layer|layers]], and it has learned {len(diagnosis.classes)} classes. [[pruning|Pruning]] sets "
        "weights to zero, and we will watch how the network changes as more of them are removed. Nothing is "
        f"pruned yet. We let it classify {judged_on(diagnosis)}."
    )


def reveal(seen: Seen) -> str:
    """How good it is."""
    dense = seen.diagnosis.dense
    low, high = dense.ci95 or (dense.score, dense.score)
    return (
        f"It predicts {percent(dense.score)} of them correctly. With {dense.n} images, the 95 % [[interval]] of "
        f"this [[accuracy]] is {percent(low)} to {percent(high)}. Below, each dot is a layer, first to last. Its "
        "height is the [[variance ratio]]: how much of the signal remains, compared with the unpruned network, "
        "so here every dot lies on 1. The bars show how often each class is predicted: "
        f"{decimal(dense.effective_classes, 1)} [[effective classes]] of {len(seen.diagnosis.classes)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    dense = seen.diagnosis.dense
    low, high = dense.ci95 or (dense.score, dense.score)
    times = halving(dense.score, dense.n)
    return (
        f"The interval is {points_between(high, low)} wide with {dense.n} images. At the same accuracy, "
        f"{percent(dense.score)}, it would be half as wide with about {count(times * dense.n)} images, "
        f"{decimal(times, 1)} times as many. (Where the accuracy is not close to all or none, the width falls "
        "with the square root of the number of images.)"
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
    title="A trained network",
    changes=lambda collapse_at: {"sparsity": 0.0, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "Of a hundred such images, how many will it classify correctly?",
        lambda seen: 100 * seen.diagnosis.dense.score,
        "of 100",
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
    notes="Ask for a show of hands before the answer. Point out the axis: logarithmic, one line per factor of ten.",
)
