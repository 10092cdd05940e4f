"""Step 11: what to do at work."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent, points_of
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.production import gate, slices


def worst(seen: Seen) -> tuple[str, float]:
    """The class that lost the most, and the points that it lost."""
    table = slices.slices(seen.diagnosis, None)
    rows = table[(table.by == "class") & (table.n >= gate.LEAST)]
    if rows.empty:
        return "none", 0.0
    lost = rows[f"lost_{seen.diagnosis.last}"]
    return str(rows["slice"][lost.idxmax()]), 100 * float(lost.max())


def opening(seen: Seen) -> str:
    """What an average hides."""
    diagnosis = seen.diagnosis
    return (
        f"You would like to release this network: {100 * diagnosis.sparsity:.0f} % pruned, repaired, "
        f"{points_of(diagnosis.dense.score - diagnosis.final.score)} below dense over all images. But an average hides "
        "differences. Look at one [[slice]] at a time, class by class."
    )


def reveal(seen: Seen) -> str:
    """What to do before a release."""
    name, lost = worst(seen)
    return (
        f"The worst is class “{name}”, which lost {lost:.1f} points. In practice: **1.** measure what each layer can "
        "lose (Sensitivity) and spend the budget where it costs least; **2.** prune, then re-estimate the statistics "
        "with images as training saw them (Calibration); **3.** judge every slice, with limits set beforehand "
        "(Slices); **4.** only then fold and quantize (Quantization); **5.** time it on the machine it is for "
        "(Hardware); **6.** take the report away, so that somebody else can check it. This network reaches "
        f"{percent(seen.diagnosis.final.score)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    name, lost = worst(seen)
    count = len(seen.diagnosis.classes)
    return (
        f"If one of {count} equally frequent classes loses all its {lost:.1f} points and the others nothing, the whole "
        f"loses {lost / count:.2f} points. That is how the loss of a class (here “{name}”) hides behind a good average."
    )


STEP = Step(
    title="What to do at work",
    changes=lambda collapse_at: {
        "sparsity": min(round(collapse_at + 0.1, 2), 0.97),
        "repair": "reflow",
        "criterion": "magnitude",
    },
    opening=opening,
    question=Question(
        "How many points will the worst class have lost?", lambda seen: worst(seen)[1], "points", 0, 50, 0, 0.5
    ),
    reveal=reveal,
    formula=Formula(
        r"\Delta=\sum_k \frac{n_k}{n}\,\Delta_k",
        "The loss over all images is the mean of the losses Δ of the classes k, weighted by their n images.",
        "By definition; the Slices page sets limits for each.",
    ),
    exercise="By how much does the average fall if only one class loses that much?",
    answer=answer,
    notes="End on the Slices page with a limit that the students chose beforehand, and see whether the release passes.",
)
