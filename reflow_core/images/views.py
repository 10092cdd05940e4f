"""Views: how pixels become the network's input, in training and in evaluation.

A view takes uint8 pixels (N, 3, h, w), the network's (H, W) and a generator, and returns floats in 0 to 1 of shape
(N, 3, H, W). Normalization comes after it, as it did in training: padding is black *before* normalizing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from reflow_core.errors import ReflowError
from reflow_core.registry import Info, Registry

DRAWING = threading.Lock()  # a person's own view draws from the generator that all threads share
Size = tuple[int, int]
View = Callable[[Tensor, Size, Generator], Tensor]
views: Registry[Info, View] = Registry("view")


@views.register(Info("none", "No augmentation", "The images without augmentation.", ""))
def none(pixels: Tensor, size: Size, generator: Generator) -> Tensor:
    """The central window, scaled to 0 to 1."""
    return center(pixels, size).float() / 255


def center(pixels: Tensor, size: Size) -> Tensor:
    """The central (H, W) of (N, 3, h, w), where torchvision's `CenterCrop` has it."""
    top, left = (round((there - wanted) / 2) for there, wanted in zip(pixels.shape[2:], size, strict=True))
    return pixels[:, :, top : top + size[0], left : left + size[1]]


@views.register(Info("cifar", "CIFAR", "Pad 4 black pixels, random crop, random flip.", "arXiv 1512.03385, 4.2"))
def cifar(pixels: Tensor, size: Size, generator: Generator) -> Tensor:
    """RandomCrop(H, padding=4) and RandomHorizontalFlip, drawn for each image by itself."""
    pixels = center(pixels, size)
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


@views.register(Info("affine", "Small affine", "Rotate by up to 12°, shift by up to 8 %, scale by 0.9 to 1.1.", ""))
def affine(pixels: Tensor, size: Size, generator: Generator) -> Tensor:
    """Random rotation, shift and scaling, bilinear on a black ground, drawn for each image by itself."""
    pixels = center(pixels, size)
    count = len(pixels)
    draw = torch.rand(count, 4, generator=generator) * 2 - 1
    angle, zoom = draw[:, 0] * math.radians(12), 1 / (1 + 0.1 * draw[:, 1])
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift = 2 * 0.08 * draw[:, 2:]
    matrix = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], 1).view(count, 2, 3)
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels.float() / 255, grid, align_corners=False)


@views.register(Info("imagenet", "ImageNet", "Crop 8 to 100 % of the area, resize, flip.", "arXiv 1409.4842"))
def imagenet(pixels: Tensor, size: Size, generator: Generator) -> Tensor:
    """RandomResizedCrop and RandomHorizontalFlip of what is kept of each picture, its central square."""
    seen = torch.empty(len(pixels), 3, *size)
    for place, picture in enumerate(pixels):
        seen[place] = F.interpolate(window(picture, generator), size, mode="bilinear", antialias=True)[0]
    for place in (torch.rand(len(pixels), generator=generator) < 0.5).nonzero():
        seen[place] = seen[place].flip(3)
    return seen.clamp_(0, 255).div_(255)  # in place: of a thousand images each copy would take 0.6 GB


def window(picture: Tensor, generator: Generator) -> Tensor:
    """A window (1, 3, h, w) in floats of 8 to 100 % of a picture's area, sides 3:4 to 4:3, else the whole."""
    height, width = picture.shape[1:]
    for _ in range(10):
        draw = torch.rand(4, generator=generator).tolist()
        area, ratio = height * width * (0.08 + 0.92 * draw[0]), math.exp(math.log(3 / 4) + draw[1] * math.log(16 / 9))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            top, left = int(draw[2] * (height - high + 1)), int(draw[3] * (width - wide + 1))
            return picture[None, :, top : top + high, left : left + wide].float()
    return picture[None].float()


def custom(function: Callable[[Tensor], Tensor]) -> View:
    """A view made of a person's own function of one picture; what it draws at random follows the generator."""

    def view(pixels: Tensor, size: Size, generator: Generator) -> Tensor:
        with DRAWING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            seen = [function(picture) for picture in pixels]
        for one in seen:
            if not isinstance(one, Tensor) or not one.is_floating_point() or one.shape != (3, *size):
                kind = f"{one.dtype} {tuple(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
                raise ReflowError(f"train_view returned {kind}; it must return floats of shape {(3, *size)} in 0 to 1.")
        return torch.stack(seen) if seen else torch.zeros(0, 3, *size)

    return view
