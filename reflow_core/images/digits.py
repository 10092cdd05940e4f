"""Handwritten digits, real images that ship with the lab, so nothing is downloaded.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), CC BY 4.0: the test part, which is
scikit-learn's `load_digits` too. Kept here, for importing scikit-learn takes as long as importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reflow_core.errors import ReflowError
from reflow_core.images.classes import fitted
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.networks.info import NetworkInfo
from reflow_core.places import ASSETS
from reflow_core.watch import Watch, ignore

FILE = ASSETS / "digits.npz"  # (N, 8, 8) of levels 0 to 16, labels (N,)
TEST_IMAGES = 700
SPLIT_SEED = 0


@dataclass(frozen=True, slots=True)
class Digits:
    """The set by its name; it ships, so there is nothing to download.

    `tail`: how many times rarer the last class is made than the first among the *training* images (see
    `Images.long_tailed`); the test images are always all of them.
    """

    name: str = "digits"
    bytes: int = 0
    tail: float = 1.0

    def open(self, root: Path, info: NetworkInfo, watch: Watch = ignore) -> ImageSet:
        """All images with the network's classes. Raises ReflowError for a network of another size or other classes."""
        whole = digits()
        train = whole.train[whole.train.long_tailed(self.tail)]
        return fitted(ImageSet(self.name, train, whole.test, whole.classes), info)

    def download(self, root: Path, watch: Watch) -> None:
        """Raises ReflowError: there is nothing to fetch."""
        raise ReflowError("The digits ship with the lab; there is nothing to download.")

    def present(self, root: Path) -> bool:
        """Always."""
        return True


def digits() -> ImageSet:
    """1,797 images, 8x8 enlarged to 16x16 in three equal channels: 1,097 to train on, 700 held out."""
    with np.load(FILE) as kept:
        pixels = enlarge(torch.from_numpy(kept["images"]).float() / 16)
        labels = torch.from_numpy(kept["labels"]).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    held, rest = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return ImageSet(
        name="digits",
        train=Images(pixels[rest], labels[rest]),
        test=Images(pixels[held], labels[held]),
        classes=tuple(str(digit) for digit in range(10)),
    )


def enlarge(gray: Tensor) -> Tensor:
    """(N, 8, 8) in 0 to 1 -> uint8 (N, 3, 16, 16)."""
    large = F.interpolate(gray[:, None], size=(16, 16), mode="bilinear", align_corners=False)
    return (large * 255).round().to(torch.uint8).repeat(1, 3, 1, 1)
