"""Step 4: the collapse plot."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def opening(seen: Seen) -> str:
    """One step further."""
    return (
        f"A few more weights: {100 * seen.found.spec.sparsity:.0f} % are zero now. What reaches the last layer hardly "
        "differs from image to image any more. The network must still answer something, for it always puts its "
        "largest number first. What does a network say that cannot see its input?"
    )


def reveal(seen: Seen) -> str:
    """One answer for everything."""
    found, pruned = seen.found, seen.found.pruned
    told = "" if pruned.separability is None else (
        f" And yet the knowledge is still there: by its distance to the class means, {percent(pruned.separability)} of "
        "the images could be told apart in the pruned network's own last features. The signal is not wrong, only far "
        "too faint."
    )  # fmt: skip
    return (
        f"{percent(pruned.top_share)} of all images get the same answer, “{found.classes[pruned.top_class]}”. Of "
        f"{len(found.classes)} classes it uses {pruned.effective_classes:.1f} (the [[entropy]] of its answers is "
        f"{pruned.entropy:.2f} bits), and {len(pruned.never)} are never given. Its accuracy is "
        f"{percent(pruned.score)}; guessing gives {100 / len(found.classes):.0f} %. This is [[signal collapse]], and "
        "this is the collapse "
        f"plot.{told}"
    )


def answer(seen: Seen) -> str:
    """The exercise's."""
    pruned, count = seen.found.pruned, len(seen.found.classes)
    return (
        f"A network that always says the same is right as often as that class comes up, about 1 in {count}: "
        f"{100 / count:.0f} %. This one reaches {percent(pruned.score)}. Accuracy alone cannot tell a guesser from a "
        "network that says one thing; the histogram can."
    )


STEP = Step(
    title="Collapse: one answer for everything",
    changes=lambda down: {"sparsity": down, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "What share of all images will get the most frequent answer? (An even spread would give one share a class.)",
        lambda seen: 100 * seen.found.pruned.top_share,
        start=30,
    ),
    reveal=reveal,
    formula=Formula(
        r"H=-\sum_k p_k\log_2 p_k,\qquad K_{\text{eff}}=2^{H}",
        "p is the share of the answers that class k gets; H their entropy in bits, K the effective number of classes.",
        "Shannon (1948); Hill numbers of order 1.",
    ),
    exercise="What accuracy has a network that always gives the same answer? Could you tell it from one that guesses?",
    answer=answer,
    notes="The sentence about the class means is the turn of the lesson: nothing is lost yet but the scale.",
)
