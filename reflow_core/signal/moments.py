"""Moments of activations: (count, mean, M2) per channel, merged in float64 by Chan's rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

BLOCK = 1 << 21  # values whose moments are taken together


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


def image_readings(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal standard deviation over positions, each image and channel by itself: (N, C, …) -> two (N, C).

    They lie on the CPU, wherever `x` does.
    The group-norm kernel with one channel a group computes both in one Welford pass, three times as fast as
    `torch.var_mean` on a CPU and without the cancellation of E[x²]−E[x]² on nearly constant channels.
    """
    count, channels = x.shape[:2]
    positions = x[0, 0].numel()
    if positions == 1:
        mean = x.reshape(count, channels).float().cpu()
        return mean.clone(), torch.full_like(mean, torch.inf)  # x may be changed in place
    some = max(1, BLOCK // (channels * positions))  # images at a time: the kernel also writes what it normalizes
    parts = [_welford(part, positions) for part in x.split(some)]
    return torch.cat([mean for mean, _ in parts]).cpu(), torch.cat([rstd for _, rstd in parts]).cpu()


def _welford(x: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    shape = x.shape[:2]
    count, channels = shape
    read = torch.native_group_norm(x.contiguous().float(), None, None, count, channels, positions, channels, 0.0)
    return read[1].view(shape), read[2].view(shape)


def image_moments(mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance in float64 from what `image_readings` gave, of any shape."""
    mean, variance = mean.double(), rstd.double().pow(-2)
    # A constant channel may have no reciprocal standard deviation; its variance is 0, unless the signal is not finite.
    return mean, torch.where(variance.isnan() & mean.isfinite(), 0.0, variance) if variance.isnan().any() else variance


def over_images(mean: Tensor, variance: Tensor, positions: int = 1) -> Moments:
    """Merge per-image moments (N, C) of `positions` values each into one set of moments per channel."""
    center = mean.mean(0)
    between = (mean - center).square_().sum(0)
    return Moments(len(mean) * positions, center, (variance.sum(0) + between) * positions)


def channel_moments(x: Tensor) -> Moments:
    """Moments of each channel over images and positions: (N, C, …)."""
    return over_images(*image_moments(*image_readings(x)), x[0, 0].numel())


def channel_dimension(module: nn.Module, output: Tensor) -> int:
    """Where a layer keeps its channels: last for linear layers, LayerNorm and RMSNorm, second for all others.

    A LayerNorm over channels that come second, as torchvision's and timm's LayerNorm2d, is told by its name or shape.
    """
    last = output.ndim - 1
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) == 1:
        second = type(module).__name__.endswith("2d") or output.shape[-1] != module.normalized_shape[0]
        return 1 if second else last
    return last if isinstance(module, nn.Linear) else 1


def channels_second(module: nn.Module, output: Tensor) -> Tensor:
    """(N, …, C) -> (N, C, …) for layers whose channels come last; unchanged for the others."""
    output = output.movedim(channel_dimension(module, output), 1)
    return output if output.ndim > 2 else output[:, :, None]
