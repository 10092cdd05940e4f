"""Magnitude pruning."""

from __future__ import annotations

import torch

from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.masks import EachTime, Weights


@criteria.register(
    CriterionInfo(
        "magnitude", "Magnitude", "Keep the weights with the largest absolute value.", "Han et al., arXiv 1506.02626"
    )
)
def magnitude(subject: Subject) -> Weights:
    """|w|, in each weight's own shape."""
    return EachTime(subject.weights, torch.abs)
