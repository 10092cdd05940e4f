"""Step 11: what to do at work."""

from __future__ import annotations

from reflow_core.numbers import decimal, percent, points_between, whole_percent
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.production import gate, slices

NOBODY = f"No class has {gate.LEAST} images, the minimum to be tested here"


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
        f"Suppose you want to release this network: {whole_percent(diagnosis.sparsity)} pruned, {kind}. Over all "
        f"images, dense has an accuracy of {percent(diagnosis.dense.score)} and this network "
        f"{percent(diagnosis.final.score)}. An average can hide large losses, so look at one [[slice]] at a time, "
        "here class by class."
    )


def reveal(seen: Seen) -> str:
    """The worst class, and what to measure before a release."""
    diagnosis, (name, lost) = seen.diagnosis, worst(seen)
    first = f"Class “{name}” loses most, {decimal(lost, 1)} points" if name else NOBODY
    return (
        f"{first}; over all images the loss is {points_between(diagnosis.dense.score, diagnosis.final.score)}. "
        "What to measure before a release, each on its own page: **1.** what each layer can lose (Sensitivity); "
        "**2.** which calibration images the repair needs (Calibration); **3.** every slice, against limits set "
        "beforehand (Slices and gate); **4.** in which order to prune, repair and quantize (Quantization); "
        "**5.** the speed on the target machine (Hardware). The report includes it all, so others can check it."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    name, lost = worst(seen)
    if not name:
        return f"{NOBODY}. More evaluation images would change that."
    table = slices.slices(seen.diagnosis, None)
    count, total = int(table[(table.by == "class") & (table["slice"] == name)].n.sum()), int(table.n.iloc[0])
    return (
        f"Class “{name}” has {count} of the {total} images. If only this class loses {decimal(lost, 1)} points, "
        f"the average falls by {count} / {total} of that, {decimal(lost * count / total, 2)} points."
    )


STEP = Step(
    title="Before a release",
    changes=lambda collapse_at: {
        "sparsity": min(round(collapse_at + 0.1, 2), 0.97),
        "repair": "reflow",
        "criterion": "magnitude",
    },
    opening=opening,
    question=Question("How many points does the worst class lose?", lambda seen: worst(seen)[1], "points", 0, 50, 0.5),
    reveal=reveal,
    formula=Formula(
        r"\Delta=\sum_k \frac{n_k}{n}\,\Delta_k",
        "The loss over all images is the mean of the losses Δ of the classes k, weighted by their n images.",
        "By definition; the page Slices and gate sets a limit for each.",
    ),
    exercise="By how much does the average fall if only this class loses that much?",
    answer=answer,
    notes=(
        "End on the page Slices and gate with a limit that the students chose beforehand, and see whether the "
        "release passes."
    ),
)
