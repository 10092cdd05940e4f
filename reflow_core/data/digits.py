"""scikit-learn's handwritten digits: real images that come with the package, so nothing is downloaded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from reflow_core.data.images import Images, ImageSet

TEST_IMAGES = 700
SPLIT_SEED = 0


def digits() -> ImageSet:
    """1,797 images, 8x8 enlarged to 16x16 in three equal channels: 1,097 to train on, 700 held out."""
    bunch = load_digits()
    pixels = enlarge(torch.from_numpy(bunch.images).float() / 16)
    labels = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    held, rest = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return ImageSet(
        name="digits",
        train=Images(pixels[rest], labels[rest]),
        test=Images(pixels[held], labels[held]),
        classes=tuple(str(digit) for digit in range(10)),
    )


def enlarge(grey: Tensor) -> Tensor:
    """(N, 8, 8) in 0 to 1 -> uint8 (N, 3, 16, 16)."""
    large = F.interpolate(grey[:, None], size=(16, 16), mode="bilinear", align_corners=False)
    return (large * 255).round().to(torch.uint8).repeat(1, 3, 1, 1)
