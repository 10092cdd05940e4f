"""Uniform allocation."""

from __future__ import annotations

from reflow_core.pruning.allocations import AllocationInfo, Budget, allocations
from reflow_core.pruning.masks import Masks, Scores, keep_lowest_out, pruned_count


@allocations.register(AllocationInfo(
    "uniform", "Uniform", "The same sparsity in every layer.", "Blalock et al., arXiv 2003.03033", comparison="layer",
))  # fmt: skip
def uniform(scores: Scores, budget: Budget) -> Masks:
    """Remove the lowest scores of each layer, the same fraction everywhere."""
    return keep_lowest_out(
        scores, {name: pruned_count(ranked.count, budget.sparsity) for name, ranked in scores.each.items()}
    )
