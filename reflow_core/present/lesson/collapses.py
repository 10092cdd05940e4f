"""Step 4: the collapse plot."""

from __future__ import annotations

import numpy as np

from reflow_core.diagnosis.verdict import COLLAPSED, level, ratio_of, standing
from reflow_core.numbers import chance, percent
from reflow_core.present.lesson import Formula, Question, Seen, Step

MORE = 0.1  # of the images: so much better the features must do than the predictions before a sentence says so


def opening(seen: Seen) -> str:
    """A few more weights."""
    return (
        f"A few more weights: {100 * seen.diagnosis.spec.sparsity:.0f} % are zero now. The variance ratio of the last "
        f"layer is {ratio_of(seen.diagnosis.last_ratio('pruned'))}. Whatever is left of its signal, the network "
        "predicts something, for it always picks the class with the largest output. What will that be?"
    )


def reveal(seen: Seen) -> str:
    """How one-sided the predictions are."""
    diagnosis, pruned = seen.diagnosis, seen.diagnosis.pruned
    collapsed = level(standing(diagnosis, "pruned")) == COLLAPSED
    named = (
        "This is [[signal collapse]], and this is the collapse plot"
        if collapsed
        else "By the lab's thresholds that is not [[signal collapse]] yet; move the slider on"
    )
    return (
        f"{percent(pruned.top_share)} of all images get the same prediction, “{diagnosis.classes[pruned.top_class]}”. "
        f"Of {len(diagnosis.classes)} classes it uses {pruned.effective_classes:.1f} (the [[entropy]] of its "
        f"predictions is {pruned.entropy:.2f} bits), and {len(pruned.never)} are never predicted. Its accuracy is "
        f"{percent(pruned.score)}; guessing gives {chance(len(diagnosis.classes))}. {named}.{knowledge(seen)}"
    )


def knowledge(seen: Seen) -> str:
    """What the last features still tell apart, beside what the predictions do; nothing where it is not measured."""
    pruned, dense = seen.diagnosis.pruned, seen.diagnosis.dense
    if pruned.separability is None or dense.separability is None:
        return ""
    more = pruned.separability > pruned.score + MORE
    return (
        f" Now look at the last features instead, the full penultimate features of the pruned network and not only the "
        f"plane that a map shows: of the first {seen.diagnosis.probed} images, {percent(pruned.separability)} lie "
        f"nearest to the mean of their own class (dense {percent(dense.separability)}), "
        + (
            "so these features still tell apart what the predictions do not."
            if more
            else "so they tell apart hardly more than the predictions do."
        )
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    diagnosis, pruned = seen.diagnosis, seen.diagnosis.pruned
    assert diagnosis.labels is not None
    occurs = float(np.mean(diagnosis.labels == pruned.top_class))
    return (
        "A network that always predicts the same class is right as often as that class occurs; "
        f"“{diagnosis.classes[pruned.top_class]}” is the class of {percent(occurs)} of these images, and a guess among "
        f"{len(diagnosis.classes)} classes is right in {chance(len(diagnosis.classes))}. This one reaches "
        f"{percent(pruned.score)}. Accuracy alone cannot tell a network that "
        "guesses from one that always predicts the same class; the histogram can."
    )


STEP = Step(
    title="Collapse: what is predicted now?",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "What share of all images will get the most frequent prediction? (If evenly spread, each class gets the same.)",
        lambda seen: 100 * seen.diagnosis.pruned.top_share,
    ),
    reveal=reveal,
    formula=Formula(
        r"H=-\sum_k p_k\log_2 p_k,\qquad K_{\text{eff}}=2^{H}",
        "p is the share of predictions that class k gets, H their entropy in bits, K the effective number of classes.",
        "Shannon (1948); Hill numbers of order 1.",
    ),
    exercise="How accurate is a network that always predicts the same class? Could you tell it from one that guesses?",
    answer=answer,
    notes="The sentence about the class means is the turning point: compare its percentage with the accuracy.",
)
