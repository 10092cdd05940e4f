"""Step 10: what zeros are worth on a real machine."""

from __future__ import annotations

from reflow_core.numbers import percent, whole_percent
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.production.timing import disturbed

FORMS = {
    "CSR": "stored without zeros (CSR), it",
    "structured": "with whole channels cut out (structured), it",
    "int8": "in 8-bit integers (int8, compared with the same file in 32 bits), it",
}
COLUMNS = {
    "network": "network",
    "batch": "images at once",
    "median_ms": "median ms",
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
        f"Back to {share:.0f} % sparsity, where we repaired the network: {share:.0f} % of its weights are zero, "
        "and a multiplication by zero could be skipped. Is the network faster? We time both networks on this "
        "machine, in turns."
    )


def reveal(seen: Seen) -> str:
    """What was measured."""
    assert seen.finding is not None
    left = 100 * seen.facts("multiply_adds_left") / seen.facts("multiply_adds")
    busy = f" {disturbed(seen.finding)}" if disturbed(seen.finding) else ""
    return (
        f"It runs {times(seen):.2f} times as fast on {largest(seen)} images at once. Without the zeros, "
        f"{left:.0f} % of the multiplications would remain (a weight counts once for every position of its "
        "layer), but zeros are stored like any other number and the [[kernel]] multiplies by them too. "
        f"{others(seen)} Measured on {seen.finding.machine}.{busy}"
    )


def others(seen: Seen) -> str:
    """What the other forms of the network gain, in a sentence."""
    assert seen.finding is not None
    speed = seen.finding.facts["speed"]
    forms = [
        f"{means} runs {speed[form][largest(seen)]:.2f} times as fast" for form, means in FORMS.items() if form in speed
    ]
    return f"Other formats, on the same number of images: {'; '.join(forms)}."


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    left = 1 - seen.diagnosis.sparsity
    return (
        f"{percent(left)} of the weights at {SPARSE} bytes take {percent(left * SPARSE / STORED)} of the space of "
        f"all weights at {STORED}, so it pays off above {whole_percent(1 - STORED / SPARSE)} sparsity. (The "
        "Hardware page shows the sizes of real files.)"
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
        "t is the median time per pass; M counts the multiply-adds per image, M≠0 those with nonzero weights.",
        "Measured here, both networks in turns; the Hardware page has every format and batch size.",
    ),
    exercise=(
        "Each weight takes 4 bytes. A sparse format stores value and position, 8 bytes. At what sparsity does it pay "
        "off?"
    ),
    answer=answer,
    notes="The Hardware page shows the sparsity from which a sparse kernel is faster.",
    inspection="hardware",
    table="End to end",
    columns=COLUMNS,
    late=True,
)
