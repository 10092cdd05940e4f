"""Moments of activations: (count, mean, M2) per channel, merged in float64 by Chan's rule."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BLOCK = 1 << 21  # values whose moments are taken together
LARGE = 1 << 10  # positions of an image from which a kernel's call for it alone costs little


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
    """Mean and population variance over positions, each image and channel by itself: (N, C, …) -> two (N, C).

    They lie on the CPU, wherever `x` does. None of the kernels suffers the cancellation of E[x²]−E[x]² on nearly
    constant channels.
    """
    count, channels = x.shape[:2]
    positions = x[0, 0].numel()
    if positions == 1:
        mean = x.reshape(count, channels).float().cpu()
        return mean.clone(), torch.zeros_like(mean)  # x may be changed in place
    kernel = _channels_last if is_channels_last(x) else _welford
    parts = [kernel(part.float(), positions) for part in x.split(_images_of(x))]
    return torch.cat([mean for mean, _ in parts]).cpu(), torch.cat([variance for _, variance in parts]).cpu()


def is_channels_last(x: Tensor) -> bool:
    """Whether images (N, C, H, W) on the CPU lie in memory pixel by pixel."""
    return x.device.type == "cpu" and x.ndim == 4 and x.stride(1) == 1 < x.stride(3) == x.shape[1]


def _images_of(x: Tensor) -> int:
    """How many images (N, C, …) make up a block."""
    return max(1, BLOCK // x[0].numel())


def _welford(x: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """The group-norm kernel with one channel a group: one pass, three times as fast as `torch.var_mean` on a CPU."""
    shape = x.shape[:2]
    count, channels = shape
    read = torch.native_group_norm(x.contiguous(), None, None, count, channels, positions, channels, 0.0)
    return read[1].view(shape), read[2].view(shape).pow(-2)


def _channels_last(x: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Without a copy into the other layout: BatchNorm's kernel image by image, or two passes over small images."""
    if positions >= LARGE:
        means, variances = zip(*(_batch_moments(image[None]) for image in x), strict=True)
        return torch.stack(means), torch.stack(variances)
    pixels = x.movedim(1, -1).flatten(1, -2)
    mean = pixels.mean(1)
    return mean, (pixels - mean[:, None]).square_().mean(1)


def _batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance (C,) of each channel; fast where channels come last in memory."""
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    return mean, variance


def image_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance in float64 from what `image_readings` gave, of any shape."""
    mean, variance = mean.double(), variance.double()
    # A constant channel may have no reciprocal standard deviation; its variance is 0, unless the signal is not finite.
    return mean, torch.where(variance.isnan() & mean.isfinite(), 0.0, variance) if variance.isnan().any() else variance


def over_images(mean: Tensor, variance: Tensor, positions: int = 1) -> Moments:
    """Merge per-image moments (N, C) of `positions` values each into one set of moments per channel."""
    center = mean.mean(0)
    between = (mean - center).square_().sum(0)
    return Moments(len(mean) * positions, center, (variance.sum(0) + between) * positions)


def channel_moments(x: Tensor) -> Moments:
    """Moments of each channel over images and positions: (N, C, …)."""
    if is_channels_last(x):
        parts = ((part[:, 0].numel(), *_batch_moments(part.float())) for part in x.split(_images_of(x)))
        every = [Moments(count, mean.double(), variance.double() * count) for count, mean, variance in parts]
        return functools.reduce(Moments.merge, every)
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
