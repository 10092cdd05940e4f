"""Global allocation."""

from __future__ import annotations

from reflow_core.pruning.allocations import AllocationInfo, Budget, allocations
from reflow_core.pruning.masks import Masks, Scores, keep_above, pruned_count


@allocations.register(
    AllocationInfo("global", "Global", "One threshold for all layers.", "Blalock et al., arXiv 2003.03033")
)
def everywhere(scores: Scores, budget: Budget) -> Masks:
    """Remove the lowest scores of the whole network, wherever they are."""
    return keep_above(scores.by_layer, scores.pooled, pruned_count(scores.pooled.count, budget.sparsity))
