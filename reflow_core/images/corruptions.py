"""Corruptions of evaluation images: what a camera, a network or a day in the field does to them.

A corruption takes uint8 pixels (N, 3, h, w), a severity of 1 to 5 and a generator, and returns the same type and shape.
Kinds and severities are those of Hendrycks & Dietterich (arXiv 1903.12261): CIFAR-10-C's for images up to 64 pixels
high, ImageNet-C's for larger ones, with the constants of the authors' make_cifar_c.py and make_imagenet_c.py
(github.com/hendrycks/robustness); occlusion is not one of theirs. Blur is torchvision's, JPEG is Pillow's.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from reflow_core.errors import ReflowError
from reflow_core.images.image_set import Images
from reflow_core.networks.vision import torchvision
from reflow_core.registry import Info, Registry

CLEAN = "none"
SEVERITIES = (1, 2, 3, 4, 5)
SMALL = 64  # pixels of height up to which an image is corrupted as CIFAR's are
Corruption = Callable[[Tensor, int, Generator], Tensor]
corruptions: Registry[Info, Corruption] = Registry("corruption")
Grades = tuple[float, float, float, float, float]


def corrupted(images: Images, corruption: str, seed: int) -> Images:
    """The images under "NAME:SEVERITY"; the same seed gives the same. Raises ReflowError for another text."""
    if corruption == CLEAN:
        return images
    name, severity = parsed(corruption)
    change = corruptions[name].function
    return Images(change(images.pixels, severity, Generator().manual_seed(seed)), images.labels)


def parsed(corruption: str) -> tuple[str, int]:
    """ "noise:3" as ("noise", 3). Raises ReflowError."""
    name, _, severity = corruption.partition(":")
    if severity not in {str(one) for one in SEVERITIES}:
        raise ReflowError(f"corruption={corruption!r} is not NAME:SEVERITY; write, for example, noise:3 (1 to 5).")
    return corruptions[name].info.name, int(severity)


def _grade(pixels: Tensor, severity: int, small: Grades, large: Grades) -> float:
    return (small if pixels.shape[2] <= SMALL else large)[severity - 1]


def _operations() -> ModuleType:
    torchvision()
    return importlib.import_module("torchvision.transforms.v2.functional")


@corruptions.register(Info("noise", "Noise", "Gaussian noise.", "arXiv 1903.12261"))
def noise(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Independent normal noise of this deviation (pixels in 0 to 1) on every value, clipped."""
    sigma = _grade(pixels, severity, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
    drawn = torch.randn(pixels.shape, generator=generator)
    return (pixels + 255 * sigma * drawn).round_().clamp_(0, 255).to(torch.uint8)


@corruptions.register(Info("blur", "Blur", "Gaussian blur.", "arXiv 1903.12261"))
def blur(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """A Gaussian kernel of this deviation in pixels, three deviations to each side."""
    sigma = _grade(pixels, severity, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6))
    size = 2 * int(np.ceil(3 * sigma)) + 1
    return torch.as_tensor(_operations().gaussian_blur(pixels, [size, size], [sigma, sigma]))


@corruptions.register(Info("jpeg", "JPEG", "JPEG compression.", "arXiv 1903.12261"))
def jpeg(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Written as a JPEG file of this quality and read again."""
    quality = int(_grade(pixels, severity, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)))

    def again(picture: Tensor) -> Tensor:
        file = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)

    return torch.stack([again(picture) for picture in pixels])


@corruptions.register(
    Info("contrast", "Contrast", "Low contrast: each channel moved toward its mean.", "arXiv 1903.12261")
)
def contrast(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """This share of each channel's distance from its mean over the picture is left."""
    share = _grade(pixels, severity, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
    values = pixels.float()
    means = values.mean((2, 3), keepdim=True)
    return ((values - means) * share + means).round_().clamp_(0, 255).to(torch.uint8)


@corruptions.register(Info("brightness", "Brightness", "Higher value V in HSV.", "arXiv 1903.12261"))
def brightness(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """This much more of the value V in HSV (0 to 1), hue and saturation kept: all channels grow by the same factor."""
    more = 255 * _grade(pixels, severity, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
    values = pixels.float()
    largest = values.amax(1, keepdim=True)
    brighter = (largest + more).clamp(max=255)
    scaled = torch.where(largest > 0, values * brighter / largest.clamp(min=1), brighter)  # black has no hue: gray
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


@corruptions.register(Info("occlusion", "Occlusion", "A black square hides part of the image.", "arXiv 1708.04552"))
def occlusion(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """A square of this share of the area at a random place of each picture (Cutout, DeVries & Taylor), by `erase`."""
    share = (0.05, 0.1, 0.2, 0.3, 0.4)[severity - 1]
    side = max(1, round((share * pixels.shape[2] * pixels.shape[3]) ** 0.5))
    places = torch.rand(len(pixels), 2, generator=generator)
    rows, columns = ((places[:, axis] * (pixels.shape[2 + axis] - side + 1)).long().tolist() for axis in (0, 1))
    black, erase = pixels.new_zeros(3, side, side), _operations().erase
    hidden = [
        erase(picture, row, column, side, side, black)
        for picture, row, column in zip(pixels, rows, columns, strict=True)
    ]
    return torch.stack(hidden)
