"""What is pruned and how: prunable weights, scores, masks, and their application to a private copy."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]
Masks = dict[str, Tensor]
PRUNABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


@dataclass(frozen=True, eq=False)
class Scores:
    """One importance score a weight, by layer name; higher is kept. Sorted values are computed once and kept."""

    by_layer: Mapping[str, Tensor]

    @functools.cached_property
    def pooled(self) -> Tensor:
        """All scores of all layers in ascending order, (number of weights,)."""
        return torch.cat([score.flatten() for score in self.by_layer.values()]).sort().values

    @functools.cached_property
    def each(self) -> dict[str, Tensor]:
        """Each layer's scores in ascending order."""
        return {name: score.flatten().sort().values for name, score in self.by_layer.items()}


def prunable(network: nn.Module) -> dict[str, Tensor]:
    """The weights of all convolutions and linear layers by module name, in registration order."""
    return {name: module.weight.detach() for name, module in network.named_modules() if isinstance(module, PRUNABLE)}


def pruned_count(total: int, sparsity: float) -> int:
    """How many of `total` weights a sparsity (fraction) removes, rounded as torch.nn.utils.prune does."""
    return round(sparsity * total)


def keep_above(scores: Mapping[str, Tensor], ascending: Tensor, count: int) -> Masks:
    """Masks (True: kept) that remove the `count` lowest scores exactly; ties are removed in order of position.

    `ascending`: the same scores, sorted.
    """
    if count == 0:
        return {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    threshold = ascending[count - 1]
    ties = count - int(torch.searchsorted(ascending, threshold))
    masks = {}
    for name, score in scores.items():
        keep = score > threshold
        tied = (score == threshold).flatten().nonzero().flatten()
        keep.view(-1)[tied[ties:]] = True
        ties -= min(ties, len(tied))
        masks[name] = keep
    return masks


def apply_masks(network: nn.Module, masks: Masks) -> None:
    """Zero the masked-out weights of a private copy in place."""
    modules = dict(network.named_modules())
    with torch.no_grad():
        for name, mask in masks.items():
            modules[name].get_parameter("weight").mul_(mask)


def sparsity_of(masks: Masks) -> float:
    """Fraction removed over all masks together, 0 to 1."""
    total = sum(mask.numel() for mask in masks.values())
    return 1 - sum(int(mask.sum()) for mask in masks.values()) / total
