"""Step 4: the collapse plot."""

from __future__ import annotations

import numpy as np

from reflow_core.diagnosis.verdict import COLLAPSED, level, ratio_of, standing
from reflow_core.numbers import chance, decimal, percent, whole_percent
from reflow_core.present.lesson import Formula, Question, Seen, Step

MORE = 0.1  # of the images: so much better the features must do than the predictions before a sentence says so


def opening(seen: Seen) -> str:
    """A few more weights."""
    return (
        f"Prune further: {whole_percent(seen.diagnosis.spec.sparsity)} of the weights are zero now. The variance "
        f"ratio of the last layer is {ratio_of(seen.diagnosis.last_ratio('pruned'))}. However weak the signal, "
        "the network still predicts a class, because it always picks the largest output. Which classes will it "
        "predict?"
    )


def reveal(seen: Seen) -> str:
    """How one-sided the predictions are."""
    diagnosis, pruned = seen.diagnosis, seen.diagnosis.pruned
    collapsed = level(standing(diagnosis, "pruned")) == COLLAPSED
    named = (
        "This is [[signal collapse]]"
        if collapsed
        else "By this lab's thresholds that is not [[signal collapse]] yet; increase the sparsity"
    )
    return (
        f"{percent(pruned.top_share)} of all images get the same prediction, "
        f"“{diagnosis.classes[pruned.top_class]}”. That makes {decimal(pruned.effective_classes, 1)} [[effective "
        f"classes]] of {len(diagnosis.classes)} (the [[entropy]] of its predictions is "
        f"{decimal(pruned.entropy, 2)} bits); {len(pruned.never)} classes are never predicted. Its accuracy is "
        f"{percent(pruned.score)}; guessing gives {chance(len(diagnosis.classes))}. {named}.{knowledge(seen)}"
    )


def knowledge(seen: Seen) -> str:
    """What the last features still tell apart, beside what the predictions do; nothing where it is not measured."""
    pruned, dense = seen.diagnosis.pruned, seen.diagnosis.dense
    if pruned.separability is None or dense.separability is None:
        return ""
    more = pruned.separability > pruned.score + MORE
    return (
        " Now look at the full penultimate features of the pruned network, not only at the plane shown on a map: "
        f"of the first {seen.diagnosis.probed} images, {percent(pruned.separability)} lie nearest to the mean of "
        f"their own class (dense {percent(dense.separability)}), "
        + (
            "so these features still separate classes that the predictions do not."
            if more
            else "so they separate the classes hardly better than the predictions do."
        )
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    diagnosis, pruned = seen.diagnosis, seen.diagnosis.pruned
    assert diagnosis.labels is not None
    occurs = float(np.mean(diagnosis.labels == pruned.top_class))
    return (
        "A network that always predicts one class is right as often as that class occurs: "
        f"“{diagnosis.classes[pruned.top_class]}” is the class of {percent(occurs)} of these images, and a random "
        f"guess among {len(diagnosis.classes)} classes is right for {chance(len(diagnosis.classes))}. This "
        f"network reaches {percent(pruned.score)}. Accuracy alone cannot distinguish a network that guesses from "
        "one that always predicts the same class; the histogram can."
    )


STEP = Step(
    title="Collapse: which classes are predicted?",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        (
            "What share of all images gets the most frequent prediction? (With an even spread, every class gets the "
            "same share.)"
        ),
        lambda seen: 100 * seen.diagnosis.pruned.top_share,
    ),
    reveal=reveal,
    formula=Formula(
        r"H=-\sum_k p_k\log_2 p_k,\qquad K_{\text{eff}}=2^{H}",
        "p is the share of predictions that class k gets, H their entropy in bits, K the effective number of classes.",
        "Shannon (1948); Hill numbers of order 1.",
    ),
    exercise=(
        "How accurate is a network that always predicts the same class? Does accuracy distinguish it from one that "
        "guesses?"
    ),
    answer=answer,
    notes="The sentence about class means is the turning point: compare its percentage with the accuracy.",
)
