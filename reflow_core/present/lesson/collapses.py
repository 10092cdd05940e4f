"""Step 4: the collapse plot."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """A few more weights."""
    return (
        f"A few more weights: {100 * seen.diagnosis.spec.sparsity:.0f} % are zero now. What reaches the last layer "
        "hardly differs from image to image any more. The network must still predict something, for it always picks "
        "the class with the largest output. What does a network predict that cannot see its input?"
    )


def reveal(seen: Seen) -> str:
    """One prediction for everything."""
    diagnosis, pruned = seen.diagnosis, seen.diagnosis.pruned
    knowledge = "" if pruned.separability is None else (
        f" And yet the knowledge is still there: by its distance to the class means, {percent(pruned.separability)} of "
        "the images could be told apart in the pruned network's own last features, all of them and not only the plane "
        "that the map shows. The signal is not wrong, only far "
        "too faint."
    )  # fmt: skip
    return (
        f"{percent(pruned.top_share)} of all images get the same prediction, “{diagnosis.classes[pruned.top_class]}”. "
        f"Of {len(diagnosis.classes)} classes it uses {pruned.effective_classes:.1f} (the [[entropy]] of its "
        f"predictions is {pruned.entropy:.2f} bits), and {len(pruned.never)} are never predicted. Its accuracy is "
        f"{percent(pruned.score)}; guessing gives {100 / len(diagnosis.classes):.0f} %. This is [[signal collapse]], "
        f"and this is the collapse plot.{knowledge}"
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    pruned, count = seen.diagnosis.pruned, len(seen.diagnosis.classes)
    return (
        f"A network that always predicts the same class is right as often as that class occurs, about 1 in {count}: "
        f"{100 / count:.0f} %. This one reaches {percent(pruned.score)}. Accuracy alone cannot tell a network that "
        "guesses from one that always predicts the same class; the histogram can."
    )


STEP = Step(
    title="Collapse: one answer for everything",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "What share of all images will get the most frequent prediction? (If evenly spread, each class gets the same.)",
        lambda seen: 100 * seen.diagnosis.pruned.top_share,
        start=30,
    ),
    reveal=reveal,
    formula=Formula(
        r"H=-\sum_k p_k\log_2 p_k,\qquad K_{\text{eff}}=2^{H}",
        "p is the share of predictions that class k gets, H their entropy in bits, K the effective number of classes.",
        "Shannon (1948); Hill numbers of order 1.",
    ),
    exercise="How accurate is a network that always predicts the same class? Could you tell it from one that guesses?",
    answer=answer,
    notes="The sentence about the class means is the turning point of the lesson: so far only the scale is lost.",
)
