"""Step 1: the network before anything is pruned."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """What kind of network it is."""
    diagnosis = seen.diagnosis
    return (
        f"Here is a real network, trained on real images. It has {diagnosis.weights:,} [[weight|weights]] in its "
        f"convolution and linear [[layer|layers]], and it has learned {len(diagnosis.classes)} classes. "
        "[[pruning|Pruning]] will set weights to zero, more and more of them, and we shall watch what becomes of the "
        f"network. Nothing is pruned yet. We let it classify {diagnosis.dense.n} images that it never saw in training."
    )


def reveal(seen: Seen) -> str:
    """How good it is."""
    dense = seen.diagnosis.dense
    low, high = dense.ci95 or (dense.score, dense.score)
    return (
        f"It predicts {percent(dense.score)} of them correctly. With {dense.n} images the true [[accuracy]] lies "
        f"between {percent(low)} and {percent(high)} (a 95 % [[interval]]). Below, each dot is a layer, first to last. "
        "Its height is the [[variance ratio]]: how much of the signal passes, measured against the unpruned network, "
        f"so here every dot lies on 1. The bars show how often each class is predicted: {dense.effective_classes:.1f} "
        f"[[effective classes]] of {len(seen.diagnosis.classes)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    dense = seen.diagnosis.dense
    low, high = dense.ci95 or (dense.score, dense.score)
    return (
        f"The interval is {100 * (high - low):.1f} points wide at {dense.n} images. Its width falls with the square "
        "root of the number of images, so half the width takes about four times as many."
    )


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
