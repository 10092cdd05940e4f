"""Pictures of a folder, decoded once: their pixels stay in a file of the cache, which is mapped instead of read."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError

from reflow_core.errors import ReflowError
from reflow_core.images.folder import Tree, image_set, name_of, tree_of
from reflow_core.images.image_set import ImageSet
from reflow_core.images.packed import pack, unpack
from reflow_core.networks.info import NetworkInfo
from reflow_core.places import cache_folder
from reflow_core.watch import Watch, ignore

VERSION = 1  # of what decoding does; another one asks for other files
MOST = 8 << 30  # bytes of all such files; the longest unused go first


def decoded_folder(root: Path, info: NetworkInfo, watch: Watch = ignore) -> ImageSet:
    """The images of a folder as `image_set` reads it, decoded at most once a size and state of its files.

    `watch`: called for every picture that is decoded, as stage "decode". Raises ReflowError and what `watch` does.
    """
    tree = tree_of(root)
    file = cache_folder() / "decoded" / f"{_key(root, tree, info)}.safetensors"
    if file.is_file():  # one that was cut short is made anew
        with contextlib.suppress(ReflowError, SafetensorError, OSError, KeyError, ValueError):
            os.utime(file)
            return unpack(file, info)
    images = image_set(tree, info, root.name, name_of(root), watch=watch)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs memory and time, nothing else
        _keep(images, file)
        return unpack(file, info)
    return images


def _key(root: Path, tree: Tree, info: NetworkInfo) -> str:
    """All that decides the decoded images: the files and their states, the size, the classes to match."""
    state = hashlib.sha256(f"{VERSION}{root.resolve()}{info.stored}{info.size}{info.interpolation}".encode())
    state.update("\0".join(info.classes).encode())
    for parts in sorted(tree):
        status = root.joinpath(*parts).stat()
        state.update(f"{parts}{status.st_size}{status.st_mtime_ns}".encode())
    return state.hexdigest()


def _keep(images: ImageSet, file: Path) -> None:
    """Write the images whole or not at all, in place of those that nobody used for longest."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        pack(images, part)
        others = sorted(file.parent.glob("*.safetensors"), key=lambda other: other.stat().st_mtime)
        taken = part.stat().st_size + sum(other.stat().st_size for other in others)
        while others and taken > MOST:
            taken -= others[0].stat().st_size
            others.pop(0).unlink()
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
