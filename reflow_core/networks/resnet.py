"""CIFAR-style residual networks (He et al., arXiv 1512.03385, section 4.2), shortcut option A.

Module names follow akamaster/pytorch_resnet_cifar10, so its public checkpoints load unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.networks.blocks import GlobalAveragePool


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every stride-th pixel, new channels filled with zeros."""
        if self.stride == 1 and self.extra == 0:
            return x
        half = self.extra // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/stride, W/stride)."""
        signal = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(signal)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet of depth 6·blocks + 2: (N, 3, H, W) -> (N, classes)."""

    def __init__(self, blocks: int, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(width, width, blocks, 1)
        self.layer2 = stage(width, 2 * width, blocks, 2)
        self.layer3 = stage(2 * width, 4 * width, blocks, 2)
        self.pool = GlobalAveragePool()
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(self.pool(x))
        return logits


def resnet(depth: int) -> Callable[[int], CifarResNet]:
    """A function from a number of classes to the network of 6n + 2 layers."""
    return functools.partial(CifarResNet, (depth - 2) // 6, 16)


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` residual blocks, the first of which changes width and resolution."""
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
