"""Layer-adaptive magnitude-based pruning (LAMP)."""

from __future__ import annotations

import torch
from torch import Tensor

from reflow_core.pruning.allocations import AllocationInfo, Budget, allocations
from reflow_core.pruning.allocations.everywhere import everywhere
from reflow_core.pruning.masks import Masks, Scores, Weights


@allocations.register(AllocationInfo(
    "lamp", "LAMP", "Scores relative to the weights that would remain in the layer, then one threshold for all.",
    "Lee et al., arXiv 2010.07611", comparison="layer",
))  # fmt: skip
def lamp(scores: Scores, budget: Budget) -> Masks:
    """Remove the lowest LAMP scores of the whole network."""
    return everywhere(scores.derived("lamp", relative), budget)


def relative(scores: Scores) -> Weights:
    """score(u)² / Σ of score(v)² over all v of the layer that rank at or above u (Lee et al., 2021, eq. 5)."""
    return {name: _relative(score) for name, score in scores.by_layer.items()}


def _relative(score: Tensor) -> Tensor:
    order = score.flatten().argsort(stable=True)
    squares = score.flatten()[order].double().square()
    above = squares.flip(0).cumsum(0).flip(0)
    relative = torch.empty_like(squares)
    relative[order] = torch.where(above > 0, squares / above, 0.0)
    return relative.view_as(score)
