"""Uniform allocation."""

from __future__ import annotations

from reflow_core.pruning.allocations import Budget, allocations
from reflow_core.pruning.masks import Masks, Scores, keep_lowest_out, pruned_count
from reflow_core.registry import Info


@allocations.register(
    Info(
        "uniform",
        "Uniform",
        "The same sparsity in every layer.",
        "Blalock et al., arXiv 2003.03033",
        comparison="layer",
    )
)
def uniform(scores: Scores, budget: Budget) -> Masks:
    """Remove the lowest scores of each layer, the same fraction everywhere."""
    return keep_lowest_out(
        scores, {name: pruned_count(ranked.count, budget.sparsity) for name, ranked in scores.each.items()}
    )
