"""Building blocks that the networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_norm_act(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm, ReLU: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride)."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of (N, H, W, C), epsilon 1e-6 as in ConvNeXt (arXiv 2201.03545)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)


class GlobalAveragePool(nn.Module):
    """Mean over all positions: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return torch.mean(x, (2, 3))
