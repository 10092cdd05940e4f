"""Step 5: why a better choice of weights does not save the network."""

from __future__ import annotations

from collections.abc import Mapping

from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step
from reflow_core.spec import Spec


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
        "Perhaps we removed the wrong weights? Size is a crude [[criterion]]. SNIP asks instead how much the loss "
        "would change without a weight: weight times gradient, measured on training images. At the same "
        f"{100 * seen.diagnosis.spec.sparsity:.0f} % sparsity, magnitude pruning left {percent(magnitude.score)}."
    )


def reveal(seen: Seen) -> str:
    """How much a better choice is worth."""
    snip, magnitude, chance = seen.diagnosis, seen.others["magnitude"], seen.others["random"]
    ratio = snip.last_ratio("pruned")
    left = "" if ratio is None else f" In the last layer {ratio:.2g} of the variance is left."
    better = snip.pruned.score > magnitude.pruned.score + 0.02
    verdict = "Better, and still far from " if better else "No better, and far from "
    return (
        f"SNIP leaves {percent(snip.pruned.score)}. {verdict}the {percent(snip.dense.score)} of the dense network; "
        f"choosing at random leaves {percent(chance.pruned.score)}.{left} Whatever you choose, most of the weights are "
        "gone, and each that goes takes variance with it. The choice decides how fast the signal fades, not whether it "
        "does. (The page “Selection vs signal” does this for every criterion.)"
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    rows = {"SNIP": seen.diagnosis, **seen.others}
    scores = "; ".join(
        f"{name}: {percent(diagnosis.pruned.score)} at a last ratio of {diagnosis.last_ratio('pruned') or 0:.2g}"
        for name, diagnosis in rows.items()
        if diagnosis.layers
    )
    return (
        f"{scores}. Compare them: where the ratio is small, the accuracy is that of chance, whichever criterion chose."
    )


STEP = Step(
    title="Does a better choice of weights help?",
    changes=lambda collapse_at: {"sparsity": collapse_at, "repair": "none", "criterion": "snip"},
    opening=opening,
    question=Question(
        "What will the accuracy be with SNIP's choice?", lambda seen: 100 * seen.diagnosis.pruned.score, start=70
    ),
    reveal=reveal,
    formula=Formula(
        r"s_i=\left|\,w_i\,\frac{\partial \mathcal L}{\partial w_i}\right|",
        "The score of a weight: how much the loss would change, to first order, if it were zero.",
        "Lee et al., SNIP, arXiv 1810.02340; earlier Molchanov et al., arXiv 1611.06440.",
    ),
    exercise="Compare accuracy and last variance ratio for magnitude, SNIP and random choice. How are the two related?",
    answer=answer,
    notes="The comparison is fair: same images, same seed. On some networks SNIP is better; the text then says so.",
    others=others,
)
