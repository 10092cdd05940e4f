"""Random pruning, the control against which every criterion is held."""

from __future__ import annotations

import torch
from torch import Tensor

from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria


@criteria.register(
    CriterionInfo(
        "random", "Random (control)", "Keep weights drawn at random from the seed.", "Liu et al., arXiv 2202.02643"
    )
)
def random(subject: Subject) -> dict[str, Tensor]:
    """Uniform numbers in 0 to 1 from the spec's seed, independent of the weights."""
    generator = torch.Generator().manual_seed(subject.seed)
    return {name: torch.rand(weight.shape, generator=generator) for name, weight in subject.weights.items()}
