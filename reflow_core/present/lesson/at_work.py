"""Step 11: what to do at work."""

from __future__ import annotations

from reflow_core.numbers import percent, points_between
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.production import gate, slices

NOBODY = f"No class has {gate.LEAST} images, the fewest that are judged here"


def worst(seen: Seen) -> tuple[str, float]:
    """The class that lost the most, and the points that it lost; "" and 0 where none has enough images."""
    table = slices.slices(seen.diagnosis, None)
    rows = table[(table.by == "class") & (table.n >= gate.LEAST)]
    if rows.empty:
        return "", 0.0
    lost = rows[f"lost_{seen.diagnosis.last}"]
    return str(rows["slice"][lost.idxmax()]), 100 * float(lost.max())


def opening(seen: Seen) -> str:
    """What an average hides."""
    diagnosis = seen.diagnosis
    kind = "repaired" if diagnosis.repaired is not None else "not repaired"
    return (
        f"You would like to release this network: {100 * diagnosis.sparsity:.0f} % pruned, {kind}. Over all "
        f"images dense has {percent(diagnosis.dense.score)} and this one {percent(diagnosis.final.score)}. An average "
        "can hide differences: look at one [[slice]] at a time, class by class."
    )


def reveal(seen: Seen) -> str:
    """The worst class, and what to measure before a release."""
    diagnosis, (name, lost) = seen.diagnosis, worst(seen)
    first = f"The worst is class “{name}”, which lost {lost:.1f} points" if name else NOBODY
    return (
        f"{first}; over all images "
        f"{points_between(diagnosis.dense.score, diagnosis.final.score)} were lost. What one would measure before a "
        "release, each on a page of its own: **1.** what each layer can lose (Sensitivity); **2.** which calibration "
        "images the repair needs (Calibration); **3.** every slice, with limits set beforehand (Slices); **4.** in "
        "which order to prune, repair and quantize (Quantization); **5.** the time on the machine it is for "
        "(Hardware). The report takes it all along, so that somebody else can check it."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    name, lost = worst(seen)
    if not name:
        return f"{NOBODY}. With more evaluation images some would have."
    table = slices.slices(seen.diagnosis, None)
    count, total = int(table[(table.by == "class") & (table["slice"] == name)].n.sum()), int(table.n.iloc[0])
    return (
        f"Class “{name}” has {count} of the {total} images. If it alone loses {lost:.1f} points and the others "
        f"nothing, the average falls by {count} / {total} of that, {lost * count / total:.2f} points."
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
        "How many points will the worst class have lost?", lambda seen: worst(seen)[1], "points", 0, 50, 0.5
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
