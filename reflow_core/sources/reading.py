"""What a worker process does with a stranger's file, and what the server does with the outcome."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from reflow_core import sandbox
from reflow_core.images.archive import pictures_in
from reflow_core.images.arrays import npz
from reflow_core.images.folder import MOST_BYTES, image_set
from reflow_core.images.image_set import ImageSet
from reflow_core.images.packed import pack, unpack
from reflow_core.networks.checkpoint import read_state, rewrite
from reflow_core.networks.info import NetworkInfo
from reflow_core.sandbox import Limits
from reflow_core.watch import Watch, ignore

MOST_OF_A_VISITOR = 1 << 27  # bytes of decoded pixels a part; of more images a sample is drawn
DECODING = Limits(memory=3 << 29, seconds=60)  # seven hundred photographs of 12 million pixels would take longer


def pictures(path: Path, info: NetworkInfo, name: str, most: int = MOST_BYTES) -> ImageSet:
    """The images of a zip or an .npz file. `name`: what its owner calls it. Raises ReflowError."""
    if path.suffix.lower() != ".zip":
        return npz(path, info, name, most=most)
    with pictures_in(path, name) as tree:
        return image_set(tree, info, name, most=most)


def pack_pictures(path: Path, info: NetworkInfo, name: str, out: Path) -> None:
    """Decode a visitor's images and write them to `out`. Raises ReflowError."""
    pack(pictures(path, info, name, MOST_OF_A_VISITOR), out)


def strange_pictures(path: Path, info: NetworkInfo, name: str, watch: Watch = ignore) -> ImageSet:
    """The same, decoded by a worker process. Raises ReflowError and what `watch` does."""
    with sandbox.reading(pack_pictures, (path, info.without_code(), name), name, DECODING, watch) as out:
        return unpack(out, info)


def strange_state(path: Path, name: str, watch: Watch = ignore) -> dict[str, Tensor]:
    """The tensors of a visitor's checkpoint, read by a worker process. Raises ReflowError and what `watch` does."""
    size = path.stat().st_size
    if path.suffix.lower() == ".safetensors":  # nothing in it is executed or unpacked
        return read_state(path, name)
    limits = Limits(memory=(1 << 29) + 4 * size, seconds=6 + (size >> 25), written=(1 << 20) + 2 * size)
    with sandbox.reading(rewrite, (path, name), name, limits, watch) as out:
        return read_state(out, name)
