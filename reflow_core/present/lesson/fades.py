"""Step 3: variance, and why it falls from layer to layer."""

from __future__ import annotations

from reflow_core.diagnosis.verdict import percent
from reflow_core.present.lesson import Formula, Question, Seen, Step


def last_ratio(seen: Seen) -> float:
    """What is left in the last measured layer, in % of dense's variance."""
    return 100 * (seen.diagnosis.last_ratio("pruned") or 0.0)


def opening(seen: Seen) -> str:
    """What variance is."""
    return (
        "What a layer passes on is useful only as far as it *differs* from image to image: if a [[channel]] gave the "
        "same number for a 3 and for an 8, no later layer could tell them apart. That difference is its [[variance]], "
        "and here it is the signal. A neuron adds up many weighted inputs; each weight that is set to zero takes its "
        f"share of the variance away. At {100 * seen.diagnosis.spec.sparsity:.0f} % sparsity every one of the "
        f"{len(seen.diagnosis.layers)} layers loses a little, and the next one starts from less."
    )


def reveal(seen: Seen) -> str:
    """How far it falls."""
    ratios = [ratio for layer in seen.diagnosis.layers if (ratio := layer.variance_ratio("pruned")) is not None]
    middle = ratios[len(ratios) // 2]
    return (
        f"From the first layer to the last the ratio goes {ratios[0]:.2f}, {middle:.2f} in the middle, "
        f"{ratios[-1]:.3f} at the end. Losses multiply: twenty layers that each keep 90 % keep 12 % together. "
        "(Shortcuts around layers keep some signal alive, so the fall is not even.) The accuracy is down to "
        f"{percent(seen.diagnosis.pruned.score)}."
    )


def answer(seen: Seen) -> str:
    """The answer to the exercise."""
    count, share = len(seen.diagnosis.layers), last_ratio(seen) / 100
    per_step = share ** (1 / max(count - 1, 1))
    return (
        f"{share:.3f} over {count - 1} steps is {per_step:.3f} per step, since {per_step:.3f} to the power {count - 1} "
        f"is {share:.3f}: each layer needs to lose only {100 * (1 - per_step):.0f} %."
    )


STEP = Step(
    title="The signal fades, layer by layer",
    changes=lambda collapse_at: {"sparsity": round(collapse_at - 0.05, 2), "repair": "none", "criterion": "magnitude"},
    opening=opening,
    question=Question(
        "How much of the variance will be left in the last layer, in % of what it was?", last_ratio, start=50
    ),
    reveal=reveal,
    formula=Formula(
        r"\operatorname{Var}\Big(\sum_i w_i x_i\Big)\approx\sum_i w_i^2\operatorname{Var}(x_i),\qquad "
        r"r_\ell=\frac{\sum_c \operatorname{Var}_c^{\text{pruned}}}{\sum_c \operatorname{Var}_c^{\text{dense}}}",
        "Inputs that vary independently add their variances; r is what a layer ℓ keeps, over its channels c.",
        "Signal collapse: arXiv 2502.15790.",
    ),
    exercise="If every layer lost the same share, how large would it have to be to end at the ratio of the last layer?",
    answer=answer,
    notes="In the stream above the dots the width is the standard deviation. Feature maps turn gray as it narrows.",
    view="Signal",
)
