"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) by torchvision, downloaded on request with progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reflow_core.errors import ReflowError
from reflow_core.images.classes import fitted
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.networks.fetch import alone, fetch
from reflow_core.networks.info import NetworkInfo
from reflow_core.networks.vision import torchvision
from reflow_core.numbers import size
from reflow_core.watch import Watch, ignore


@dataclass(frozen=True, slots=True)
class Archive:
    """One of the two, by the name of its class in torchvision."""

    kind: str
    url: str
    sha256: str
    bytes: int
    last: str  # the file that torchvision unpacks last

    @property
    def name(self) -> str:
        """As it is called in a spec."""
        return self.kind.lower()

    def open(self, root: Path, info: NetworkInfo, watch: Watch = ignore) -> ImageSet:
        """50,000 training and 10,000 test images, 32x32. Raises ReflowError where they are not on this machine."""
        try:
            train, test = (self._dataset()(str(root), train=part) for part in (True, False))
        except RuntimeError:
            raise ReflowError(
                f"{self.kind} is not on this machine; get it with 'python -m reflow_core download {self.name}' "
                f"({size(self.bytes)})."
            ) from None
        return fitted(ImageSet(self.name, _images(train), _images(test), tuple(test.classes)), info)

    def download(self, root: Path, watch: Watch) -> None:
        """Fetch the archive into `root`; torchvision checks it and unpacks what is not there whole."""
        fetch(self.url, root / self.url.rsplit("/", 1)[1], self.sha256, self.bytes, watch)
        with alone(root / self.name, watch):
            self._dataset()(str(root), download=True)

    def present(self, root: Path) -> bool:
        """Whether the unpacked images lie in `root` (a look at the folder, no check of their content)."""
        return (root / self.last).is_file()

    def _dataset(self) -> Any:
        return getattr(torchvision().datasets, self.kind)


def _images(dataset: Any) -> Images:
    pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return Images(pixels, torch.tensor(dataset.targets))


HOME = "https://www.cs.toronto.edu/~kriz"
CIFAR10 = Archive(
    "CIFAR10",
    f"{HOME}/cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    170_498_071,
    "cifar-10-batches-py/test_batch",
)
CIFAR100 = Archive(
    "CIFAR100",
    f"{HOME}/cifar-100-python.tar.gz",
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    169_001_437,
    "cifar-100-python/test",
)
