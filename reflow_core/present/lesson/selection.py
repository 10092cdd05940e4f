"""Step 5: what another choice of weights is worth."""

from __future__ import annotations

from collections.abc import Mapping

from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.statistics import mcnemar
from reflow_core.diagnosis.verdict import WEAK_SIGNAL, ratio_of
from reflow_core.numbers import chance, p_value, percent, whole_percent
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.spec import Spec

ALPHA = 0.05  # McNemar: with a larger p value nothing is called better or worse


def others(spec: Spec) -> Mapping[str, Spec]:
    """Magnitude pruning and random pruning, at the same sparsity."""
    return {
        "magnitude": normalize(spec, criterion="magnitude", repair="none"),
        "random": normalize(spec, criterion="random", repair="none"),
    }


def opening(seen: Seen) -> str:
    """The usual idea: choose the weights better."""
    magnitude = seen.others["magnitude"].pruned
    return (
        "Did we remove the wrong weights? Magnitude is only one [[criterion]]. SNIP estimates how much the loss "
        "would change without a weight: weight times gradient, measured on training images. At the same "
        f"{whole_percent(seen.diagnosis.spec.sparsity)} sparsity, magnitude pruning reaches "
        f"{percent(magnitude.score)}."
    )


def reveal(seen: Seen) -> str:
    """How much a better choice is worth."""
    snip, magnitude, drawn = seen.diagnosis, seen.others["magnitude"], seen.others["random"]
    ratios = {
        "SNIP": snip.last_ratio("pruned"),
        **{name: each.last_ratio("pruned") for name, each in seen.others.items()},
    }
    listed = ", ".join(f"{name} {ratio_of(ratio)}" for name, ratio in ratios.items())
    weak = sum(ratio is not None and ratio < WEAK_SIGNAL for ratio in ratios.values())
    return (
        f"SNIP reaches {percent(snip.pruned.score)}, magnitude {percent(magnitude.pruned.score)}: "
        f"{compared(snip, magnitude)}. A random selection reaches {percent(drawn.pruned.score)}; the dense "
        f"network has {percent(snip.dense.score)}. The variance ratio of the last layer is {listed}; it is below "
        f"{WEAK_SIGNAL:g}, which we call a lost signal, for {weak} of the {len(ratios)} selections. (The page "
        "“Selection vs repair” compares all criteria, with and without a repair.)"
    )


def compared(one: Diagnosis, other: Diagnosis) -> str:
    """Whether the first pruned network is better or worse, beyond chance (McNemar)."""
    right, rivals = (each.predictions["pruned"].predicted == each.labels for each in (one, other))
    p = mcnemar(right, rivals)
    shown = p_value(p)
    if p >= ALPHA:
        return f"on the same images the difference is not significant (McNemar, {shown})"
    verdict = "better" if right.mean() > rivals.mean() else "worse"
    return f"on the same images SNIP's selection is {verdict} (McNemar, {shown})"


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    rows = {"SNIP": seen.diagnosis, **seen.others}
    scores = "; ".join(
        f"{name}: {percent(diagnosis.pruned.score)}{_interval(diagnosis)} at a last ratio of "
        f"{ratio_of(diagnosis.last_ratio('pruned'))}"
        for name, diagnosis in rows.items()
    )
    at_chance = [name for name, diagnosis in rows.items() if _at_chance(diagnosis)]
    return (
        f"{scores}. The 95 % interval contains {chance(len(seen.diagnosis.classes))}, a random guess, for: "
        f"{', '.join(at_chance) or 'none of them'}. Three points are not a rule; the Sweep page has more."
    )


def _interval(diagnosis: Diagnosis) -> str:
    ends = diagnosis.pruned.ci95
    return "" if ends is None else f" ({percent(ends[0])} to {percent(ends[1])})"


def _at_chance(diagnosis: Diagnosis) -> bool:
    ends = diagnosis.pruned.ci95
    return ends is not None and ends[0] <= 1 / len(diagnosis.classes) <= ends[1]


STEP = Step(
    title="Does a better selection help?",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "snip"},
    opening=opening,
    question=Question(
        "What will the accuracy be with SNIP's selection?", lambda seen: 100 * seen.diagnosis.pruned.score
    ),
    reveal=reveal,
    formula=Formula(
        r"s_i=\left|\,w_i\,\frac{\partial \mathcal L}{\partial w_i}\right|",
        "The score of a weight: how much the loss would change, to first order, if it were zero.",
        "Lee et al., SNIP, arXiv 1810.02340; earlier Molchanov et al., arXiv 1611.06440.",
    ),
    exercise="Compare accuracy and last variance ratio for magnitude, SNIP and random selection. How are they related?",
    answer=answer,
    notes="Same images, same seed. Where SNIP is better, the text says so.",
    others=others,
)
