"""Step 10: what zeros are worth on a real machine."""

from __future__ import annotations

from reflow_core.present.lesson import Formula, Question, Seen, Step


def times(seen: Seen) -> float:
    """How many times as fast the network with zeros runs, at the largest batch measured."""
    assert seen.finding is not None
    return float(seen.finding.facts["speed"]["zeros"]["64"])


def opening(seen: Seen) -> str:
    """The promise."""
    share = 100 * seen.found.sparsity
    return (
        f"{share:.0f} % of the weights are zero, so the network needs only {100 - share:.0f} % of the multiplications. "
        "Is it faster, then? We time it here, on this very machine, beside the dense one, taking turns."
    )


def reveal(seen: Seen) -> str:
    """What was measured."""
    assert seen.finding is not None
    return (
        f"{times(seen):.2f} times as fast, on 64 images at once. The usual [[kernel]] multiplies by zeros as it does "
        "by any number. "
        f"{seen.finding.answer} What does run faster is a network whose channels are really cut out, one with "
        f"smaller numbers (int8), or hardware made for a pattern. Measured on {seen.finding.machine}."
    )


def answer(seen: Seen) -> str:
    """The exercise's."""
    share = seen.found.sparsity
    return (
        "A stored weight takes 4 bytes, in a sparse format about 8 (its value and its place). "
        f"{100 * (1 - share):.0f} % "
        f"of the weights at 8 bytes is {100 * 2 * (1 - share):.0f} % of the dense file; it begins to pay above 50 %."
    )


STEP = Step(
    title="Does it run faster?",
    changes=lambda down: {"sparsity": down, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question("How many times as fast as the dense network will it run?", times, "times", 0.5, 5.0, 2.0, 0.1),
    reveal=reveal,
    formula=Formula(
        r"\text{speed-up}=\frac{t_{\text{dense}}}{t_{\text{pruned}}},\qquad "
        r"\text{bound: }\frac{1}{1-s}\ \text{ if zeros cost nothing}",
        "t is the median time of a pass; s the sparsity.",
        "Measured here with both networks taking turns; the Hardware page has every form and batch.",
    ),
    exercise="Each weight takes 4 bytes. A sparse format stores value and place, 8 bytes a weight. When does it pay?",
    answer=answer,
    notes="Expect disbelief. Open the Hardware page for the sparsity from which a sparse kernel pays.",
    inspection="hardware",
    table="End to end",
    late=True,
)
