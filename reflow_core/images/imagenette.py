"""Imagenette (Howard 2019): ten easy classes of ImageNet by torchvision, downloaded on request with progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reflow_core.errors import ReflowError
from reflow_core.images.decoded import decoded_folder
from reflow_core.images.image_set import ImageSet
from reflow_core.leftovers import LockedFolder, remove_tree
from reflow_core.networks.fetch import alone, fetch
from reflow_core.networks.info import NetworkInfo
from reflow_core.networks.vision import torchvision
from reflow_core.watch import Watch, ignore

FOLDER = "imagenette2-320"
SIZE_NAME = "320px"  # the shorter side, enough for the usual crop of 224 from 256


@dataclass(frozen=True, slots=True)
class Imagenette:
    """The set as torchvision fetches it, checked by torchvision's MD5."""

    name: str = "imagenette"
    bytes: int = 341_663_724

    def open(self, root: Path, info: NetworkInfo, watch: Watch = ignore) -> ImageSet:
        """Training and validation images, classes by synset. Raises ReflowError where they are not on this machine."""
        if not self.present(root):
            raise ReflowError(
                "Imagenette is not on this machine; get it with 'python -m reflow_core download imagenette' (342 MB), "
                "or bring a folder of your own with --data."
            )
        return decoded_folder(root / FOLDER, info, watch)

    def download(self, root: Path, watch: Watch) -> None:
        """Fetch the archive into `root`, check its MD5 and unpack it, once where two ask for it.

        Its folder is there when it is whole: torchvision would take half of one, left by a killed process, for all.
        Raises ReflowError, also for an archive that is broken, which is not kept.
        """
        datasets = torchvision().datasets
        url, md5 = datasets.Imagenette._ARCHIVES[SIZE_NAME]
        archive = fetch(url, root / url.rsplit("/", 1)[1], "", self.bytes, watch)
        with alone(root / self.name, watch):
            if self.present(root):
                return
            if not datasets.utils.check_integrity(str(archive), md5):
                archive.unlink()
                raise ReflowError(f"{archive.name} does not have the MD5 {md5}, so it was deleted; try again.")
            try:
                with LockedFolder(inside=root) as unpacked:
                    datasets.utils.extract_archive(str(archive), str(unpacked))
                    remove_tree(root / FOLDER)
                    (unpacked / FOLDER).replace(root / FOLDER)
            except OSError as error:
                raise ReflowError(f"Could not unpack {archive.name} in {root} ({error.strerror or error}).") from None

    def present(self, root: Path) -> bool:
        """Whether the unpacked images lie in `root`."""
        return (root / FOLDER / "val").is_dir()
