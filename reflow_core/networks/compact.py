"""Small networks of four families, trained on digits and shipped in assets/networks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.networks.blocks import ChannelLayerNorm, GlobalAveragePool, conv_norm_act


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise then pointwise convolution (MobileNet, arXiv 1704.04861, section 3.1)."""
    return nn.Sequential(
        conv_norm_act(inputs, inputs, stride=stride, groups=inputs), conv_norm_act(inputs, outputs, kernel=1)
    )


def mobilenet(classes: int = 10) -> nn.Sequential:
    """MobileNet for 16x16 images: a stem and seven depthwise separable blocks."""
    return nn.Sequential(
        conv_norm_act(3, 32),
        separable(32, 48),
        separable(48, 64, stride=2),
        separable(64, 64),
        separable(64, 96, stride=2),
        separable(96, 96),
        separable(96, 96),
        separable(96, 96),
        GlobalAveragePool(),
        nn.Linear(96, classes),
    )


class ResNeXtBlock(nn.Module):
    """1x1, grouped 3x3, 1x1 with a shortcut (ResNeXt, arXiv 1611.05431, figure 3c)."""

    def __init__(self, inputs: int, outputs: int, groups: int, stride: int) -> None:
        super().__init__()
        middle = outputs // 2
        self.reduce = conv_norm_act(inputs, middle, kernel=1)
        self.grouped = conv_norm_act(middle, middle, stride=stride, groups=groups)
        self.expand = nn.Conv2d(middle, outputs, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(outputs)
        self.project: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.project = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/stride, W/stride)."""
        signal = self.expand_norm(self.expand(self.grouped(self.reduce(x))))
        return F.relu(signal + self.project(x))


def resnext(classes: int = 10, groups: int = 8) -> nn.Sequential:
    """ResNeXt for 16x16 images: a stem and six grouped bottlenecks."""
    widths = ((32, 64, 1), (64, 64, 1), (64, 96, 2), (96, 96, 1), (96, 128, 2), (128, 128, 1))
    blocks = (ResNeXtBlock(inputs, outputs, groups, stride) for inputs, outputs, stride in widths)
    return nn.Sequential(conv_norm_act(3, 32), *blocks, GlobalAveragePool(), nn.Linear(128, classes))


def vgg(classes: int = 10) -> nn.Sequential:
    """VGG with BatchNorm (arXiv 1409.1556): ten plain convolutions, no shortcut anywhere."""
    stages = ((3, 24, 3), (24, 48, 3), (48, 64, 4))
    layers: list[nn.Module] = []
    for number, (inputs, outputs, depth) in enumerate(stages):
        layers += [nn.MaxPool2d(2)] if number else []
        layers += [conv_norm_act(inputs if step == 0 else outputs, outputs) for step in range(depth)]
    return nn.Sequential(*layers, GlobalAveragePool(), nn.Linear(64, classes))


class ConvNeXtBlock(nn.Module):
    """Depthwise 3x3, LayerNorm, widen, GELU, narrow, shortcut (arXiv 2201.03545, figure 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = ChannelLayerNorm(channels)
        self.widen = nn.Linear(channels, 3 * channels)
        self.narrow = nn.Linear(3 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        signal = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        update: Tensor = self.narrow(F.gelu(self.widen(signal)))
        return x + update.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """ConvNeXt for 16x16 images, without any BatchNorm: (N, 3, 16, 16) -> (N, classes)."""

    def __init__(self, classes: int = 10, channels: int = 32, depth: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 2, 2)
        self.stem_norm = ChannelLayerNorm(channels)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(channels) for _ in range(depth)))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, classes)."""
        x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        logits: Tensor = self.head(self.norm(self.blocks(x).mean((2, 3))))
        return logits
