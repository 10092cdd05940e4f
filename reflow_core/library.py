"""The library: resolves the names in a spec to networks and images, and remembers what was loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import nn

from reflow_core.data import cifar10
from reflow_core.data.digits import digits
from reflow_core.data.folder import image_folder, npz
from reflow_core.data.images import ImageSet
from reflow_core.download import fetch
from reflow_core.errors import ReflowError, unknown
from reflow_core.memo import Memo
from reflow_core.models.catalogue import catalogue, find
from reflow_core.models.checkpoint import fingerprint, load_into, read_state
from reflow_core.models.info import NetworkInfo
from reflow_core.spec import Spec
from reflow_core.watch import Watch, ignore

SHIPPED = Path(__file__).resolve().parent.parent / "assets" / "networks"
DATA_NAMES = ("digits", "cifar10")


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded network, shared by every thread: in eval mode, never to be pruned, hooked or recalibrated in place."""

    info: NetworkInfo
    module: nn.Module
    digest: str
    origin: str


def cache_folder() -> Path:
    """Where downloads and results are kept: REFLOW_CACHE, or the user's cache folder."""
    return Path(os.environ.get("REFLOW_CACHE") or platformdirs.user_cache_dir("reflow-lab"))


def weights_folder() -> Path:
    """The usual torch hub cache for checkpoints (follows TORCH_HOME)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


class Library:
    """Networks and images by name.

    `checkpoints`: a state dict to load instead of a model's own weights, by model name. `local`: whether a spec's
    `data` may be a path on this machine; never allowed for text that comes from a URL.
    """

    def __init__(self, checkpoints: Mapping[str, Path] | None = None, local: bool = False) -> None:
        self._checkpoints = dict(checkpoints or {})
        self._local = local
        self._memo = Memo(size=8)
        self._shelves = {"facts": Memo(size=64), "selections": Memo(size=16), "gradients": Memo(size=1)}

    def network(self, name: str) -> Network:
        """The network called `name`. Raises ReflowError for an unknown name or weights not on this machine."""
        info = find(name)
        return self._memo.get(("network", name), lambda: self._load(info))

    def images(self, spec: Spec) -> ImageSet:
        """The image set of a spec, in the size and class order of its model. Raises ReflowError."""
        info = find(spec.model)
        name = info.data if spec.data == "auto" else spec.data
        return self._memo.get(("images", name, info.size, info.classes), lambda: self._open(name, info))

    def recall(self, key: tuple[object, ...], build: Callable[[], Any], shelf: str = "facts") -> Any:
        """What many specs share, built once: "facts" (dense answers, scores), "selections", the latest "gradients"."""
        return self._shelves[shelf].get(key, build)

    def identity(self, spec: Spec) -> str:
        """The content behind a spec's names: hashes of the network and of the images."""
        return f"{self.network(spec.model).digest}:{self.images(spec).digest}"

    def _load(self, info: NetworkInfo) -> Network:
        path, origin = self._weights(info)
        module = info.build(len(info.classes))
        load_into(module, read_state(path), origin)
        module.eval().requires_grad_(False)
        return Network(info, module, fingerprint(module), origin)

    def _weights(self, info: NetworkInfo) -> tuple[Path, str]:
        if info.name in self._checkpoints:
            return self._checkpoints[info.name], f"The checkpoint {self._checkpoints[info.name].name!r}"
        if info.download is None:
            return SHIPPED / f"{info.name}.safetensors", f"The shipped network {info.name}"
        path = weights_folder() / info.download.filename
        if not path.is_file():
            raise ReflowError(
                f"The weights of {info.name} are not on this machine; get them with "
                f"'python -m reflow_core download {info.name}' ({info.download.size / 1e6:.1f} MB)."
            )
        return path, f"The public checkpoint {path.name}"

    def _open(self, name: str, info: NetworkInfo) -> ImageSet:
        if name == "digits":
            return fitted(digits(), info)
        if name == "cifar10":
            return fitted(cifar10.cifar10(cache_folder()), info)
        if self._local and Path(name).is_dir():
            return image_folder(Path(name), info.size, info.classes)
        if self._local and Path(name).is_file():
            return npz(Path(name), info.size, info.classes)
        raise unknown("data", name, DATA_NAMES)


def fitted(images: ImageSet, info: NetworkInfo) -> ImageSet:
    """The images unchanged if the network can read them. Raises ReflowError where size or classes differ."""
    if tuple(images.test.pixels.shape[2:]) != info.size or images.classes != info.classes:
        raise ReflowError(f"{info.name} was not trained on {images.name!r}; use data={info.data} or 'auto'.")
    return images


def available(name: str) -> bool:
    """Whether a model's weights and its data are on this machine, so that it runs without a download."""
    info = find(name)
    weights = info.download is None or (weights_folder() / info.download.filename).is_file()
    return weights and (info.data != "cifar10" or cifar10.present(cache_folder()))


def download(name: str, watch: Watch = ignore) -> None:
    """Fetch a model's weights and its data, or an image set by name. Raises ReflowError."""
    if name == "cifar10":
        return cifar10.download(cache_folder(), watch)
    if name not in catalogue:
        raise unknown("download", name, [*catalogue, "cifar10"])
    info = find(name)
    if info.download is not None:
        fetch(
            info.download.url,
            weights_folder() / info.download.filename,
            info.download.sha256,
            info.download.size,
            watch,
        )
    if info.data == "cifar10" and not cifar10.present(cache_folder()):
        cifar10.download(cache_folder(), watch)


def card(name: str) -> dict[str, Any]:
    """The JSON card of a shipped network; empty for one that is downloaded."""
    path = SHIPPED / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}
