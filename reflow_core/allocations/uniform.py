"""Uniform allocation."""

from __future__ import annotations

from reflow_core.allocations import allocations
from reflow_core.pruning import Masks, Scores, keep_above, pruned_count
from reflow_core.registry import Info


@allocations.register(
    Info("uniform", "Uniform", "The same sparsity in every layer.", "Blalock et al., arXiv 2003.03033")
)
def uniform(scores: Scores, sparsity: float) -> Masks:
    """Remove the lowest scores of each layer, the same fraction everywhere."""
    masks: Masks = {}
    for name, score in scores.by_layer.items():
        masks |= keep_above({name: score}, scores.each[name], pruned_count(score.numel(), sparsity))
    return masks
