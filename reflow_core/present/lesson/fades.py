"""Step 3: variance, and what becomes of it from layer to layer."""

from __future__ import annotations

import itertools

from reflow_core.diagnosis.verdict import ratio_of
from reflow_core.numbers import decimal, percent, ratio, whole_percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def last_ratio(seen: Seen) -> float:
    """What is left in the last measured layer, in % of dense's variance."""
    return 100 * (seen.diagnosis.last_ratio("pruned") or 0.0)


def opening(seen: Seen) -> str:
    """What variance is."""
    diagnosis = seen.diagnosis
    return (
        "A layer's output is useful only if it *differs* from image to image: if its [[channel|channels]] gave "
        "the same numbers for every image, no later layer could distinguish two images. This difference is "
        "measured by the [[variance]], and it is what we call the signal. A neuron adds up many weighted inputs; "
        "where they vary independently, setting a weight to zero removes its share of the variance (see the "
        f"formula). At {whole_percent(diagnosis.spec.sparsity)} sparsity we measure it in {len(diagnosis.layers)} "
        "layers, and each receives what the layers before it pass on."
    )


def reveal(seen: Seen) -> str:
    """How far it falls."""
    ratios = [ratio for layer in seen.diagnosis.layers if (ratio := layer.variance_ratio("pruned")) is not None]
    middle = ratios[len(ratios) // 2]
    falls = sum(after < before for before, after in itertools.pairwise(ratios))
    steps = len(ratios) - 1
    return (
        f"The ratio is {ratio_of(ratios[0])} in the first layer, {ratio_of(middle)} in the middle and "
        f"{ratio_of(ratios[-1])} in the last. It falls in {falls} of the {steps} steps from one layer to the "
        f"next, and need not fall in each. The accuracy is {percent(seen.diagnosis.pruned.score)}; before pruning "
        f"it was {percent(seen.diagnosis.dense.score)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    count, share = len(seen.diagnosis.layers), last_ratio(seen) / 100
    if not 0 < share < 1 or not count:
        return f"The last ratio is {ratio_of(share)}, so there is no loss to divide among the layers."
    kept = share ** (1 / count)
    return (
        f"{count} layers that each keep {decimal(kept, 4)} of their input's variance together keep "
        f"{decimal(kept, 4)} to the power {count}, about {ratio(share)}: each would have to lose "
        f"{percent(1 - kept)}."
    )


STEP = Step(
    title="The signal fades, layer by layer",
    changes=lambda collapse_at: {"sparsity": round(collapse_at - 0.05, 2), "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question("How much of its variance will the last layer keep, in %?", last_ratio),
    reveal=reveal,
    formula=Formula(
        r"\operatorname{Var}\Big(\sum_i w_i x_i\Big)\approx\sum_i w_i^2\operatorname{Var}(x_i),\qquad "
        r"r_\ell=\frac{\sum_c \operatorname{Var}_c^{\text{pruned}}}{\sum_c \operatorname{Var}_c^{\text{dense}}}",
        ("The variances of independent inputs add up; r is the share that layer ℓ keeps, summed over its channels c."),
        "Signal collapse: arXiv 2502.15790.",
    ),
    exercise="If every layer lost the same share, how large would it be to end at the ratio of the last layer?",
    answer=answer,
    notes="In the stream view, the width is the standard deviation. Feature maps are drawn on the dense network's "
    "scale, so they turn gray as it narrows.",
    view="Signal",
)
