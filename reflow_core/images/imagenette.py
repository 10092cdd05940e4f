"""Imagenette (Howard 2019): ten easy classes of ImageNet by torchvision, downloaded on request with progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reflow_core.errors import ReflowError
from reflow_core.images.folder import image_folder
from reflow_core.images.image_set import ImageSet
from reflow_core.networks.fetch import alone, fetch
from reflow_core.networks.info import NetworkInfo
from reflow_core.networks.vision import torchvision
from reflow_core.watch import Watch

FOLDER = "imagenette2-320"
SIZE_NAME = "320px"  # the shorter side, enough for the usual crop of 224 from 256


@dataclass(frozen=True, slots=True)
class Imagenette:
    """The set as torchvision fetches it, checked by torchvision's MD5."""

    name: str = "imagenette"
    bytes: int = 341_663_724

    def open(self, root: Path, info: NetworkInfo) -> ImageSet:
        """Training and validation images, classes by synset. Raises ReflowError where they are not on this machine."""
        if not self.present(root):
            raise ReflowError(
                "Imagenette is not on this machine; get it with 'python -m reflow_core download imagenette' (342 MB), "
                "or bring a folder of your own with --data."
            )
        return image_folder(root / FOLDER, info)

    def download(self, root: Path, watch: Watch) -> None:
        """Fetch the archive into `root`; torchvision checks its MD5 and unpacks it, once where two ask for it."""
        kind = torchvision().datasets.Imagenette
        url = kind._ARCHIVES[SIZE_NAME][0]
        fetch(url, root / url.rsplit("/", 1)[1], "", self.bytes, watch)
        with alone(root / self.name, watch):
            if not self.present(root):
                kind(str(root), size=SIZE_NAME, download=True)

    def present(self, root: Path) -> bool:
        """Whether the unpacked images lie in `root`."""
        return (root / FOLDER / "val").is_dir()
