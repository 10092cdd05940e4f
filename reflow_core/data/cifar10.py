"""CIFAR-10 (Krizhevsky 2009) by torchvision, downloaded on request with progress."""

from __future__ import annotations

from pathlib import Path

import torch

from reflow_core.data.images import Images, ImageSet
from reflow_core.download import fetch
from reflow_core.errors import ReflowError
from reflow_core.vision import torchvision
from reflow_core.watch import Watch, ignore

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
BYTES = 170_498_071


def cifar10(root: Path) -> ImageSet:
    """50,000 training and 10,000 test images, 32x32. Raises ReflowError where they are not on this machine."""
    datasets = torchvision().datasets
    try:
        train, test = (datasets.CIFAR10(str(root), train=part) for part in (True, False))
    except RuntimeError:
        raise ReflowError(
            "CIFAR-10 is not on this machine; get it with 'python -m reflow_core download cifar10' (170 MB)."
        ) from None
    return ImageSet("cifar10", _images(train), _images(test), tuple(test.classes))


def download(root: Path, watch: Watch = ignore) -> None:
    """Fetch the archive into `root`; torchvision checks and unpacks it."""
    fetch(URL, root / URL.rsplit("/", 1)[1], SHA256, BYTES, watch)
    torchvision().datasets.CIFAR10(str(root), download=True)


def present(root: Path) -> bool:
    """Whether the unpacked images lie in `root` (a look at the folder, no check of their content)."""
    return (root / "cifar-10-batches-py" / "test_batch").is_file()


def _images(dataset: object) -> Images:
    pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()  # type: ignore[attr-defined]
    return Images(pixels, torch.tensor(dataset.targets))  # type: ignore[attr-defined]
