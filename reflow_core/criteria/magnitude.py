"""Magnitude pruning."""

from __future__ import annotations

from torch import Tensor

from reflow_core.criteria import Subject, criteria
from reflow_core.registry import Info


@criteria.register(
    Info("magnitude", "Magnitude", "Keep the weights with the largest absolute value.", "Han et al., arXiv 1506.02626")
)
def magnitude(subject: Subject) -> dict[str, Tensor]:
    """|w|, in each weight's own shape."""
    return {name: weight.abs() for name, weight in subject.weights.items()}
