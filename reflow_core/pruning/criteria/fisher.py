"""Diagonal empirical Fisher: Optimal Brain Damage with the Fisher in place of the Hessian."""

from __future__ import annotations

import torch

from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.gradients import each_gradient
from reflow_core.pruning.masks import Weights


@criteria.register(
    CriterionInfo(
        "fisher",
        "Diagonal Fisher",
        "Keep the weights whose individual removal raises the loss most, to second order: w² · E[g²].",
        "LeCun et al., Optimal Brain Damage, 1989; Theis et al., arXiv 1801.05787",
        needs_data=True,
    )
)
def fisher(subject: Subject) -> Weights:
    """½ · w² · mean over samples of (∂ℓ/∂w)²: OBD's saliency (eq. 5) with the diagonal of the empirical Fisher."""
    samples = subject.samples()
    squares = {name: torch.zeros_like(weight) for name, weight in subject.weights.items()}
    for chunk in each_gradient(subject.network, subject.weights, samples.inputs, samples.classes, subject.watch):
        for name, gradients in chunk.items():
            squares[name] += gradients.square().sum(0)
    return {
        name: weight.square() * squares[name] / (2 * len(samples.inputs)) for name, weight in subject.weights.items()
    }
