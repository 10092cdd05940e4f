"""Scores and masks: sorted once for every sparsity, thresholded exactly, installed into a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from reflow_core.memo import lazy

Weights = Mapping[str, Tensor]
Masks = dict[str, Tensor]
STRIDE = 64
BLOCK = 1 << 18  # weights looked at together


class OnDemand(Mapping[str, Tensor]):
    """Tensors made of each layer's weights whenever they are looked up, so that no copy of all is kept."""

    weights: Weights

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


class EachTime(OnDemand):
    """Scores computed weight by weight."""

    def __init__(self, weights: Weights, function: Callable[[Tensor], Tensor]) -> None:
        self.weights, self.function = weights, function

    def __getitem__(self, name: str) -> Tensor:
        return self.function(self.weights[name])


class Masked(OnDemand):
    """Weights with zeros where the masks are False."""

    def __init__(self, weights: Weights, masks: Masks) -> None:
        self.weights, self._masks = weights, masks

    def __getitem__(self, name: str) -> Tensor:
        return self.weights[name] * self._masks[name]


@dataclass(frozen=True, eq=False)
class Scores:
    """One importance score a weight, by layer name; higher is kept. What takes a sort is computed once and kept.

    `comparison`: which of them may be compared, "global" (all) or "row" (those of one output).
    """

    by_layer: Weights
    comparison: str = "global"
    _derived: dict[object, Scores] = field(default_factory=dict)

    @lazy
    def pooled(self) -> ScoreQuantiles:
        """Of all scores of all layers together."""
        return score_quantiles(self.by_layer)

    @lazy
    def each(self) -> dict[str, ScoreQuantiles]:
        """Of each layer's scores by themselves."""
        return {name: score_quantiles({name: score}) for name, score in self.by_layer.items()}

    def derived(self, key: object, make: Callable[[Scores], Weights]) -> Scores:
        """Other scores made from these, once a key."""
        if key not in self._derived:
            self._derived[key] = Scores(make(self))
        return self._derived[key]


def taken(scores: Weights, positions: Tensor) -> Tensor:
    """The scores at ascending positions, counted over all layers one behind the other."""
    parts, start = [], 0
    stored, function = _stored(scores)
    for values in stored.values():
        here = positions[(positions >= start) & (positions < start + values.numel())] - start
        parts.append(function(values.flatten()[here]))
        start += values.numel()
    return torch.cat(parts)


@dataclass(frozen=True, eq=False, slots=True)
class ScoreQuantiles:
    """Every STRIDE-th of `count` scores in ascending order, and the highest: any threshold lies between two of them."""

    values: Tensor
    count: int

    def around(self, rank: int) -> tuple[Tensor, Tensor]:
        """The two kept values between which the score of this rank (from 0) lies."""
        return self.values[rank // STRIDE], self.values[rank // STRIDE + 1]


def score_quantiles(scores: Weights) -> ScoreQuantiles:
    """Sorted once, in place by numpy, without the indices that torch.sort makes."""
    count = sum(shape.numel() for shape in shapes(scores).values())
    values = torch.empty(count, dtype=next(iter(scores.values())).dtype)
    for start, block in blocks(scores):
        values[start : start + len(block)] = block
    values.numpy().sort()
    return ScoreQuantiles(torch.cat([values[::STRIDE], values[-1:]]), count)


def shapes(scores: Weights) -> dict[str, torch.Size]:
    """The shape of each layer's scores."""
    return {name: values.shape for name, values in _stored(scores)[0].items()}


def _stored(scores: Weights) -> tuple[Weights, Callable[[Tensor], Tensor]]:
    """What lies in memory, and what makes scores of it."""
    return (scores.weights, scores.function) if isinstance(scores, EachTime) else (scores, lambda values: values)


def blocks(scores: Weights) -> Iterator[tuple[int, Tensor]]:
    """All scores one behind the other, flat, in blocks that stay in the processor's cache, each with its position."""
    start = 0
    stored, function = _stored(scores)
    for values in stored.values():
        for block in values.flatten().split(BLOCK):
            yield start, function(block)
            start += len(block)


def pruned_count(total: int, sparsity: float) -> int:
    """How many of `total` weights a sparsity (fraction) removes, rounded as torch.nn.utils.prune does."""
    return round(sparsity * total)


def keep_above(scores: Weights, ranked: ScoreQuantiles, count: int) -> Masks:
    """Masks (True: kept) that remove the `count` lowest scores exactly; ties are removed in order of position.

    `ranked`: the same scores. Only those between the two kept values around the threshold are looked at one by one.
    """
    kept = torch.ones(ranked.count, dtype=torch.bool)
    if count:
        low, high = ranked.around(count - 1)
        reached = torch.empty_like(kept)
        for start, block in blocks(scores):
            torch.gt(block, high, out=kept[start : start + len(block)])
            torch.ge(block, low, out=reached[start : start + len(block)])
        undecided = torch.from_numpy(np.flatnonzero(reached.logical_xor_(kept).numpy()))
        lower = ranked.count - int(kept.count_nonzero()) - len(undecided)
        order = taken(scores, undecided).argsort(stable=True)
        kept[undecided[order[count - lower :]]] = True
    parts = kept.split([shape.numel() for shape in shapes(scores).values()])
    return {name: part.view(shape) for part, (name, shape) in zip(parts, shapes(scores).items(), strict=True)}


def keep_lowest_out(scores: Scores, counts: Mapping[str, int]) -> Masks:
    """Masks (True: kept) that remove `counts` of the lowest scores of each layer."""
    masks: Masks = {}
    for name, score in scores.by_layer.items():
        masks |= keep_above({name: score}, scores.each[name], counts[name])
    return masks


def install(network: nn.Module, weights: Weights) -> None:
    """Put weights into the layers of a network, in place."""
    with torch.no_grad():
        for name, weight in weights.items():
            network.get_submodule(name).get_parameter("weight").copy_(weight)


def sparsity_of(masks: Masks) -> float:
    """Fraction removed over all masks together, 0 to 1."""
    total = sum(mask.numel() for mask in masks.values())
    return 1 - sum(int(mask.count_nonzero()) for mask in masks.values()) / total
