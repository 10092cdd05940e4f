"""What an image set that has a name tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from reflow_core.images.image_set import ImageSet
from reflow_core.networks.info import NetworkInfo
from reflow_core.watch import Watch, ignore


class NamedSet(Protocol):
    """Images that ship, or that are fetched on request into a folder `root`; `bytes`: how many that takes."""

    @property
    def name(self) -> str:
        """As it is called in a spec."""

    @property
    def bytes(self) -> int:
        """What `download` fetches; 0 for images that ship."""

    def present(self, root: Path) -> bool:
        """Whether the images lie in `root` (a look at the folder, no check of their content)."""

    def download(self, root: Path, watch: Watch) -> None:
        """Fetch them into `root`. Raises ReflowError."""

    def open(self, root: Path, info: NetworkInfo, watch: Watch = ignore) -> ImageSet:
        """The images as the network reads them. Raises ReflowError where they are not on this machine."""
