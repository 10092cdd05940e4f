"""Patterns: N of every M weights along the input channels, or whole output channels."""

from __future__ import annotations

import torch
from torch import Tensor

from reflow_core.pruning.masks import Masks, Weights
from reflow_core.spec import PATTERNS

UNSTRUCTURED, CHANNEL = "unstructured", "channel"
N_OF_M = tuple(pattern for pattern in PATTERNS if ":" in pattern)


def parse(pattern: str) -> tuple[int, int]:
    """ "2:4" as (2, 4)."""
    kept, group = pattern.split(":")
    return int(kept), int(group)


def divisible(score: Tensor, group: int) -> bool:
    """Whether the input channels of a weight (C_out, C_in/g, …) come in whole groups."""
    return score.shape[1] % group == 0


def n_of_m(scores: Weights, pattern: str) -> Masks:
    """Masks (True: kept) with the N highest scores of every M consecutive input channels at one kernel position.

    A layer whose input channels do not come in whole groups stays dense. Ties are removed in order of position
    (Mishra et al., arXiv 2104.08378, section 3).
    """
    kept, group = parse(pattern)
    return {name: _grouped(score, kept, group) for name, score in scores.items()}


def _grouped(score: Tensor, kept: int, group: int) -> Tensor:
    if not divisible(score, group):
        return torch.ones_like(score, dtype=torch.bool)
    folded = torch.unflatten(score, 1, (-1, group))  # (C_out, C_in/g/M, M, …)
    return (ranks(folded, 2) >= group - kept).flatten(1, 2)


def ranks(scores: Tensor, dimension: int = 1) -> Tensor:
    """The place of each score, from 0, in ascending order along a dimension; ties in order of position."""
    return scores.argsort(dim=dimension, stable=True).argsort(dim=dimension)


def group_numbers(score: Tensor, pattern: str) -> Tensor:
    """For each weight the number of its group within the layer, in the weight's own shape."""
    _, group = parse(pattern)
    if not divisible(score, group):
        return torch.zeros(score.shape, dtype=torch.long)
    first = torch.unflatten(score, 1, (-1, group))[:, :, :1]
    numbers = torch.arange(first.numel()).view(first.shape)
    return numbers.expand(-1, -1, group, *[-1] * (score.ndim - 2)).flatten(1, 2)


def channel_scores(scores: Weights, ranked: bool = False) -> Weights:
    """Each weight scored as its output channel is, by the mean of the channel's scores.

    `ranked`: by the place of that mean within the layer, 0 to 1, for scores that cannot be compared between layers.
    """
    means = {name: _of_channel(score) for name, score in scores.items()}
    if ranked:
        means = {name: ((ranks(mean, 0) + 0.5) / len(mean)).to(mean) for name, mean in means.items()}
    return {name: _spread(mean, scores[name]) for name, mean in means.items()}


def whole_channels(scores: Weights, masks: Masks) -> Masks:
    """Masks (True: kept) that remove whole output channels, in each layer about as many weights as `masks` remove.

    `scores`: those of `channel_scores`. The channels with the lowest go; one is always left, and ties are removed in
    order of position (Li et al., arXiv 1608.08710, remove filters by the sum of their weights' magnitudes).
    """
    kept: Masks = {}
    for name, mask in masks.items():
        channels = _of_channel(scores[name])
        gone = min(round(float((~mask).sum()) * len(channels) / mask.numel()), len(channels) - 1)
        alive = torch.ones(len(channels), dtype=torch.bool)
        alive[channels.argsort(stable=True)[:gone]] = False
        kept[name] = _spread(alive, mask).contiguous()
    return kept


def _spread(by_channel: Tensor, weight: Tensor) -> Tensor:
    return by_channel[(..., *[None] * (weight.ndim - 1))].expand_as(weight)


def _of_channel(score: Tensor) -> Tensor:
    return score.flatten(1).mean(1)
