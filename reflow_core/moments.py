"""Moments of activations: (count, mean, M2) per channel, merged in float64 by Chan's rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Moments:
    """Of `count` values a channel: `mean` (C,) and `m2` (C,), the sum of squared deviations, in float64."""

    count: int
    mean: Tensor
    m2: Tensor

    @classmethod
    def empty(cls, channels: int) -> Moments:
        """Moments of nothing, the neutral element of `merge`."""
        zero = torch.zeros(channels, dtype=torch.float64)
        return cls(0, zero, zero)

    @property
    def variance(self) -> Tensor:
        """Population variance (C,), never negative."""
        return self.m2 / max(self.count, 1)

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of values together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        if count == 0:
            return self
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        return Moments(count, mean, self.m2 + other.m2 + shift * shift * (self.count * other.count / count))


def image_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance over positions, each image and channel by itself: (N, C, …) -> two (N, C) float64.

    The group-norm kernel with one channel a group computes both in one Welford pass, three times as fast as
    `torch.var_mean` on a CPU and without the cancellation of E[x²]−E[x]² on nearly constant channels.
    """
    count, channels = x.shape[:2]
    positions = x[0, 0].numel()
    if positions == 1:
        return x.reshape(count, channels).double(), torch.zeros(count, channels, dtype=torch.float64)
    _, mean, rstd = torch.native_group_norm(
        x.contiguous().float(), None, None, count, channels, positions, channels, 0.0
    )
    mean, variance = mean.double().view(count, channels), rstd.double().view(count, channels) ** -2
    # A constant channel has no finite reciprocal deviation; its variance is 0, unless the signal itself is not finite.
    return mean, torch.where(variance.isfinite() | ~mean.isfinite(), variance, 0.0)


def over_images(mean: Tensor, variance: Tensor, positions: int) -> Moments:
    """Merge per-image moments (N, C) of `positions` values each into one set of moments per channel."""
    centre = mean.mean(0)
    between = ((mean - centre) ** 2).sum(0) * positions
    return Moments(len(mean) * positions, centre, variance.sum(0) * positions + between)


def output_moments(layer: nn.Module, output: Tensor) -> Moments:
    """Moments of a layer's output per channel, over images and positions."""
    values = channels_second(layer, output)
    mean, variance = image_moments(values)
    return over_images(mean, variance, values[0, 0].numel())


def channels_second(module: nn.Module, output: Tensor) -> Tensor:
    """(N, …, C) -> (N, C, …) for layers whose channels come last; unchanged for the others."""
    last = isinstance(module, nn.Linear) or (isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1)
    output = output.movedim(-1, 1) if last and output.ndim > 2 else output
    return output if output.ndim > 2 else output[:, :, None]
