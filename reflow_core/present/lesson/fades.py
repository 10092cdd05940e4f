"""Step 3: variance, and what becomes of it from layer to layer."""

from __future__ import annotations

import itertools

from reflow_core.diagnosis.verdict import ratio_of
from reflow_core.numbers import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def last_ratio(seen: Seen) -> float:
    """What is left in the last measured layer, in % of dense's variance."""
    return 100 * (seen.diagnosis.last_ratio("pruned") or 0.0)


def opening(seen: Seen) -> str:
    """What variance is."""
    diagnosis = seen.diagnosis
    return (
        "What a layer passes on is useful only as far as it *differs* from image to image: if all its "
        "[[channel|channels]] gave the same numbers for every image, no later layer could tell two images apart. That "
        "difference is its [[variance]], and here it is the signal. A neuron adds up many weighted inputs; where these "
        "vary independently, a weight that is set to zero takes its share of the variance away (see the formula). At "
        f"{100 * diagnosis.spec.sparsity:.0f} % sparsity we measure it in {len(diagnosis.layers)} layers, and each "
        "starts from what the layers before it left."
    )


def reveal(seen: Seen) -> str:
    """How far it falls."""
    ratios = [ratio for layer in seen.diagnosis.layers if (ratio := layer.variance_ratio("pruned")) is not None]
    middle = ratios[len(ratios) // 2]
    falls = sum(after < before for before, after in itertools.pairwise(ratios))
    steps = len(ratios) - 1
    return (
        f"From the first layer to the last the ratio goes {ratio_of(ratios[0])}, {ratio_of(middle)} in the middle, "
        f"{ratio_of(ratios[-1])} at the end. It falls in {falls} of the {steps} steps from a layer to the next, and "
        f"need not fall in each. The accuracy is {percent(seen.diagnosis.pruned.score)}; before pruning it was "
        f"{percent(seen.diagnosis.dense.score)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    count, share = len(seen.diagnosis.layers), last_ratio(seen) / 100
    if not 0 < share < 1 or not count:
        return f"The last ratio is {ratio_of(share)}, so there is no loss to share out."
    kept = share ** (1 / count)
    return (
        f"{count} layers that each keep {kept:.4f} of what arrives keep {kept:.4f} to the power {count}, about "
        f"{share:.2g}, together: each would have to lose {100 * (1 - kept):.1f} %."
    )


STEP = Step(
    title="The signal fades, layer by layer",
    changes=lambda collapse_at: {"sparsity": round(collapse_at - 0.05, 2), "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question("How much of the variance will be left in the last layer, in % of what it was?", last_ratio),
    reveal=reveal,
    formula=Formula(
        r"\operatorname{Var}\Big(\sum_i w_i x_i\Big)\approx\sum_i w_i^2\operatorname{Var}(x_i),\qquad "
        r"r_\ell=\frac{\sum_c \operatorname{Var}_c^{\text{pruned}}}{\sum_c \operatorname{Var}_c^{\text{dense}}}",
        "Inputs that vary independently add their variances; r is what a layer ℓ keeps, over its channels c.",
        "Signal collapse: arXiv 2502.15790.",
    ),
    exercise="If every layer lost the same share, how large would it have to be to end at the ratio of the last layer?",
    answer=answer,
    notes="In the stream above the dots the width is the standard deviation. Feature maps are drawn on dense's scale: "
    "as it narrows they turn gray.",
    view="Signal",
)
