"""A sparsity for each layer, given by hand."""

from __future__ import annotations

from reflow_core.errors import unknown
from reflow_core.pruning.allocations import AllocationInfo, Budget, allocations
from reflow_core.pruning.masks import Masks, Scores, keep_lowest_out, pruned_count


@allocations.register(AllocationInfo(
    "custom", "By hand", "The sparsity given for each named layer (layer_sparsity), the overall one for others.", "",
    comparison="layer", reads=("layer_sparsity",),
))  # fmt: skip
def custom(scores: Scores, budget: Budget) -> Masks:
    """Remove each layer's lowest scores, the fraction named for it. Raises ReflowError for a layer there is not."""
    for name in budget.layers:
        if name not in scores.each:
            raise unknown("layer", name, scores.each)
    shares = {name: budget.layers.get(name, budget.sparsity) for name in scores.each}
    return keep_lowest_out(scores, {name: pruned_count(scores.each[name].count, shares[name]) for name in shares})
