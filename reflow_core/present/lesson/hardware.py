"""Step 10: what zeros are worth on a real machine."""

from __future__ import annotations

from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.production.timing import disturbed

FORMS = {
    "CSR": "stored without its zeros (CSR), it",
    "structured": "with whole channels cut out (structured), it",
    "int8": "in 8-bit numbers (int8, beside the same file in 32 bits), it",
}
COLUMNS = {
    "network": "network",
    "batch": "images at once",
    "median_ms": "milliseconds (median)",
    "speed": "times as fast",
    "beside": "as",
}
STORED, SPARSE = 4, 8  # bytes a weight, of the exercise


def times(seen: Seen) -> float:
    """How many times as fast the network with zeros runs, at the largest batch measured."""
    assert seen.finding is not None
    return float(seen.finding.facts["speed"]["zeros"][largest(seen)])


def largest(seen: Seen) -> str:
    """The largest batch that was timed."""
    assert seen.finding is not None
    return str(max(seen.finding.facts["speed"]["zeros"], key=int))


def opening(seen: Seen) -> str:
    """What zeros promise."""
    share = 100 * seen.diagnosis.sparsity
    return (
        f"Back to {share:.0f} % sparsity, where we repaired the network. So {share:.0f} % of its weights are zero, and "
        "a multiplication by zero need not be done. Is the network faster, then? We time both networks here, on this "
        "very machine, taking turns."
    )


def reveal(seen: Seen) -> str:
    """What was measured."""
    assert seen.finding is not None
    left = 100 * seen.facts("multiply_adds_left") / seen.facts("multiply_adds")
    busy = f" {disturbed(seen.finding)}" if disturbed(seen.finding) else ""
    return (
        f"It runs {times(seen):.2f} times as fast, on {largest(seen)} images at once. Without the zeros {left:.0f} % "
        "of the multiplications would be left (a weight counts once for every position of its layer), but zeros are "
        f"stored like any number, and the [[kernel]] multiplies by them too. {others(seen)} Measured on "
        f"{seen.finding.machine}.{busy}"
    )


def others(seen: Seen) -> str:
    """What the other forms of the network gain, in a sentence."""
    assert seen.finding is not None
    speed = seen.finding.facts["speed"]
    forms = [
        f"{means} runs {speed[form][largest(seen)]:.2f} times as fast" for form, means in FORMS.items() if form in speed
    ]
    return f"Other forms, on as many images: {'; '.join(forms)}."


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    left = 1 - seen.diagnosis.sparsity
    return (
        f"{left:.1%} of the weights at {SPARSE} bytes are {left * SPARSE / STORED:.1%} of as many at {STORED}; so it "
        f"begins to pay off above {1 - STORED / SPARSE:.0%}. (The Hardware page has the bytes of real files.)"
    )


STEP = Step(
    title="Does it run faster?",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question("How many times as fast as the dense network will it run?", times, "times", 0.0, 5.0, 0.1),
    reveal=reveal,
    formula=Formula(
        r"\text{speed-up}=\frac{t_{\text{dense}}}{t_{\text{pruned}}},\qquad "
        r"\text{bound: }\frac{M}{M_{\neq 0}}\ \text{ if zeros cost nothing}",
        "t is the median time per pass; M counts the multiply-adds of an image, M≠0 those not by zero.",
        "Measured here with both networks taking turns; the Hardware page has every form and batch.",
    ),
    exercise="Each weight takes 4 bytes. A sparse format stores value and position, 8 bytes. When does it pay off?",
    answer=answer,
    notes="Open the Hardware page for the sparsity from which a sparse kernel pays off.",
    inspection="hardware",
    table="End to end",
    columns=COLUMNS,
    late=True,
)
