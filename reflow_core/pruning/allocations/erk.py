"""Erdős-Rényi-Kernel allocation: thin layers keep more of their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Size

from reflow_core.pruning.allocations import AllocationInfo, Budget, allocations
from reflow_core.pruning.masks import Masks, Scores, keep_lowest_out, pruned_count


@allocations.register(AllocationInfo(
    "erk", "ERK", "Density by fan-in, fan-out and kernel size: narrow layers keep more.", "arXiv 1911.11134",
    comparison="layer",
))  # fmt: skip
def erk(scores: Scores, budget: Budget) -> Masks:
    """Remove each layer's lowest scores; how many, `kept_counts` says."""
    shapes = {name: score.shape for name, score in scores.by_layer.items()}
    total = sum(shape.numel() for shape in shapes.values())
    kept = kept_counts(shapes, total - pruned_count(total, budget.sparsity))
    return keep_lowest_out(scores, {name: shape.numel() - kept[name] for name, shape in shapes.items()})


def kept_counts(shapes: Mapping[str, Size], kept: int) -> dict[str, int]:
    """`kept` weights spread over layers of shape (C_out, C_in/g, k_h, k_w), exactly.

    Density ∝ (C_in/g + C_out + k_h + k_w) / (C_in/g · C_out · k_h · k_w) (Evci et al., 2020, section 3). A layer that
    would keep more than it has keeps all, the rest is spread anew; fractions go to the largest remainders.
    """
    numel = {name: shape.numel() for name, shape in shapes.items()}
    full: set[str] = set()
    while True:
        share = {name: sum(shape) for name, shape in shapes.items() if name not in full}
        left = kept - sum(numel[name] for name in full)
        scale = left / max(1, sum(share.values()))
        over = {name for name in share if scale * share[name] > numel[name]}
        if not over:
            break
        full |= over
    exact = {name: scale * share[name] for name in share}
    counts = {name: numel[name] if name in full else math.floor(exact[name]) for name in shapes}
    remainders = sorted(share, key=lambda name: exact[name] - counts[name], reverse=True)
    for name in remainders[: kept - sum(counts.values())]:
        counts[name] += 1
    return counts
