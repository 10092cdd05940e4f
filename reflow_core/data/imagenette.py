"""Imagenette (Howard 2019): ten easy classes of ImageNet by torchvision, downloaded on request with progress."""

from __future__ import annotations

from pathlib import Path

from reflow_core.download import fetch
from reflow_core.errors import ReflowError
from reflow_core.vision import torchvision
from reflow_core.watch import Watch, ignore

FOLDER = "imagenette2-320"
SIZE_NAME = "320px"  # the shorter side, enough for the usual crop of 224 from 256
BYTES = 341_663_724


def folder(root: Path) -> Path:
    """The unpacked folder with train/ and val/, classes by synset. Raises ReflowError where it is not here."""
    if not present(root):
        raise ReflowError(
            "Imagenette is not on this machine; get it with 'python -m reflow_core download imagenette' (342 MB), "
            "or bring a folder of your own with --data."
        )
    return root / FOLDER


def download(root: Path, watch: Watch = ignore) -> None:
    """Fetch the archive into `root`; torchvision checks its MD5 and unpacks it."""
    kind = torchvision().datasets.Imagenette
    url = kind._ARCHIVES[SIZE_NAME][0]
    fetch(url, root / url.rsplit("/", 1)[1], "", BYTES, watch)
    kind(str(root), size=SIZE_NAME, download=True)


def present(root: Path) -> bool:
    """Whether the unpacked images lie in `root`."""
    return (root / FOLDER / "val").is_dir()
