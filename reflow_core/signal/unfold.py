"""What a convolution reads: its windows as rows or columns, all of them or those at sampled output positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def padded(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """(N, C_in, H, W) with the zeros that the layer pads, "same" padding included."""
    reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    whole = reach if layer.padding == "same" else [0, 0]
    before = [side // 2 for side in whole] if isinstance(layer.padding, str) else list(layer.padding)
    after = [side - first for side, first in zip(whole, before, strict=True)] if layer.padding == "same" else before
    sides = (before[1], after[1], before[0], after[0])
    return F.pad(images, sides) if any(sides) else images  # which F.pad would copy


def output_sides(layer: nn.Conv2d, padded_images: Tensor) -> tuple[int, int]:
    """Height and width of the layer's output for images that are padded already."""
    reach = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    height, width = (
        (side - far) // step + 1 for side, far, step in zip(padded_images.shape[2:], reach, layer.stride, strict=True)
    )
    return height, width


def windows(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """Every window that the layer reads, as columns: (N, C_in, H, W) -> (N, C_in·k_h·k_w, positions)."""
    return F.unfold(padded(layer, images), layer.kernel_size, layer.dilation, stride=layer.stride)


def windows_at(layer: nn.Conv2d, image: Tensor, positions: Tensor) -> Tensor:
    """The windows at some output positions of padded images, (N, P) of row-major numbers: (N·P, C_in, k_h, k_w)."""
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    width = output_sides(layer, image)[1]
    rows = (positions // width * sh)[..., None] + torch.arange(kh) * dh
    columns = (positions % width * sw)[..., None] + torch.arange(kw) * dw
    number = torch.arange(len(image))[:, None, None, None]
    read = image.movedim(1, -1)[number, rows[..., :, None], columns[..., None, :]]  # (N, P, k_h, k_w, C_in)
    return read.flatten(0, 1).movedim(-1, 1)
