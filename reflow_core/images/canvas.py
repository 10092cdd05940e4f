"""A larger canvas: the same picture somewhere on black, so that an image has more pixels and no more to see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

Lengths = Sequence[tuple[int, float]]  # sides of square canvases in pixels, and the share of the images on each


def on_canvas(pixels: Tensor, side: int, generator: Generator) -> Tensor:
    """Images (N, C, h, w) on black squares (N, C, side, side), each at a place of its own; `side` at least h and w."""
    count, channels, height, width = pixels.shape
    canvas = pixels.new_zeros(count, channels, side, side)
    top = torch.randint(0, side - height + 1, (count,), generator=generator).tolist()
    left = torch.randint(0, side - width + 1, (count,), generator=generator).tolist()
    for image, here, down, across in zip(pixels, canvas, top, left, strict=True):
        here[:, down : down + height, across : across + width] = image
    return canvas


def drawn_sides(lengths: Lengths, count: int, generator: Generator) -> Tensor:
    """`count` sides drawn by their shares, (count,)."""
    sides, shares = (torch.tensor(column) for column in zip(*lengths, strict=True))
    return sides[torch.multinomial(shares, count, replacement=True, generator=generator)]
