"""SNIP: connection sensitivity."""

from __future__ import annotations

from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.gradients import mean_gradient
from reflow_core.pruning.masks import Weights


@criteria.register(
    CriterionInfo(
        "snip",
        "SNIP",
        "Keep the weights whose removal changes the loss most, to first order: |w · gradient|.",
        "Lee et al., arXiv 1810.02340",
        needs_data=True,
    )
)
def snip(subject: Subject) -> Weights:
    """|w · ∂L/∂w|, L the mean cross-entropy of the calibration images (Lee et al., 2019, eq. 4), at trained weights."""
    samples = subject.samples()
    gradient = mean_gradient(subject.network, subject.weights, samples.inputs, samples.classes, subject.watch)
    return {name: (weight * gradient[name]).abs() for name, weight in subject.weights.items()}
