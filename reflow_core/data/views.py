"""Views: how pixels become the network's input, in training and in evaluation.

A view takes uint8 pixels (N, 3, H, W) and a generator and returns floats in 0 to 1 of the same shape. Normalisation
comes after it, as it did in training: padding is black *before* normalising.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from reflow_core.registry import Info, Registry

View = Callable[[Tensor, Generator], Tensor]
views: Registry[View] = Registry("view")


@views.register(Info("none", "No augmentation", "The images as they are.", ""))
def none(pixels: Tensor, generator: Generator) -> Tensor:
    """Scale to 0 to 1, nothing else."""
    return pixels.float() / 255


@views.register(Info("cifar", "CIFAR", "Pad 4 black pixels, random crop, random flip.", "arXiv 1512.03385, 4.2"))
def cifar(pixels: Tensor, generator: Generator) -> Tensor:
    """RandomCrop(H, padding=4) and RandomHorizontalFlip, drawn for each image by itself."""
    count, _, height, width = pixels.shape
    padded = F.pad(pixels, (4, 4, 4, 4))
    top = torch.randint(0, 9, (count, 1), generator=generator)
    left = torch.randint(0, 9, (count, 1), generator=generator)
    flipped = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.arange(width).repeat(count, 1)
    columns = torch.where(flipped, width - 1 - columns, columns) + left
    rows = torch.arange(height).repeat(count, 1) + top
    which = torch.arange(count)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).float() / 255


@views.register(Info("affine", "Small affine", "Rotate to 12°, shift to 8 %, scale 0.9 to 1.1.", ""))
def affine(pixels: Tensor, generator: Generator) -> Tensor:
    """Random rotation, shift and scaling, bilinear on a black ground, drawn for each image by itself."""
    count = len(pixels)
    draw = torch.rand(count, 4, generator=generator) * 2 - 1
    angle, zoom = draw[:, 0] * math.radians(12), 1 / (1 + 0.1 * draw[:, 1])
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift = 2 * 0.08 * draw[:, 2:]
    matrix = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], 1).view(count, 2, 3)
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels.float() / 255, grid, align_corners=False)
