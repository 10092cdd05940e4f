"""timm's networks and those of the Hugging Face hub, where the package timm is installed.

"timm:NAME" is a network with published weights, "timm:hf_hub:OWNER/NAME" one that anybody put on the hub for timm.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from reflow_core.errors import ReflowError, unknown
from reflow_core.networks.checkpoint import weights_folder
from reflow_core.networks.fetch import fetch
from reflow_core.networks.info import IMAGENET_MEAN, IMAGENET_STD, Download, Facts, NetworkInfo, facts_of
from reflow_core.networks.vision import torchvision
from reflow_core.networks.zoo import classes_of_imagenet
from reflow_core.watch import Watch

PREFIX, HUB = "timm:", "hf_hub:"
HOME = "https://huggingface.co"
INTERPOLATIONS = ("bilinear", "bicubic")


def is_timm(name: str) -> bool:
    """Whether a network's name is one of timm's."""
    return name.startswith(PREFIX)


@functools.cache
def package() -> ModuleType:
    """The package timm. Raises ReflowError where it is not installed."""
    torchvision()  # which timm imports, and which may need help
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise ReflowError("Names that begin with timm: need the package timm; 'pip install timm' it.") from None


def described(name: str) -> NetworkInfo:
    """The network of a name. Raises ReflowError for an unknown one, and for one of the hub not yet downloaded."""
    bare = name.removeprefix(PREFIX)
    if not bare.startswith(HUB):
        return _registered(bare)
    if not (config := _file(bare, ".json")).is_file():
        raise ReflowError(
            f"{name} is not on this machine; get it with 'python -m reflow_core download {name}', which asks the hub."
        )
    described = json.loads(config.read_text())
    return _info(
        bare, described["architecture"], bare.removeprefix(HUB), described | described.get("pretrained_cfg", {})
    )


def fetch_description(name: str, watch: Watch) -> None:
    """Ask the hub what a network is, for one that timm does not know by itself. Raises ReflowError."""
    bare = name.removeprefix(PREFIX)
    if bare.startswith(HUB):
        fetch(f"{HOME}/{bare.removeprefix(HUB)}/resolve/main/config.json", _file(bare, ".json"), "", 1, watch)


@functools.cache
def _registered(bare: str) -> NetworkInfo:
    timm = package()
    try:
        config = timm.models.get_pretrained_cfg(bare)
    except RuntimeError:
        config = None
    if config is None:
        raise unknown("model", PREFIX + bare, [PREFIX + each for each in timm.list_models(pretrained=True)])
    return _info(bare, bare.partition(".")[0], config.hf_hub_id or "", vars(config))


def _file(bare: str, suffix: str) -> Path:
    return weights_folder() / f"timm-{bare.replace('/', '--').replace(':', '-')}{suffix}"


def _info(bare: str, architecture: str, repository: str, config: dict[str, Any]) -> NetworkInfo:
    count, (_, height, width) = int(config.get("num_classes", 1000)), config.get("input_size", (3, 224, 224))

    def build(classes: int = count) -> nn.Module:
        network: nn.Module = package().create_model(architecture, pretrained=False, num_classes=classes)
        return network

    facts = _facts(build)
    size = 0 if facts is None else 4 * facts.parameters
    url = f"{HOME}/{repository}/resolve/main/model.safetensors"
    imagenet = classes_of_imagenet()
    return NetworkInfo(
        name=PREFIX + bare,
        title=f"{bare} by timm",
        build=build,
        data="imagenette" if count == len(imagenet) else "",
        train_view="imagenet",
        mean=tuple(config.get("mean", IMAGENET_MEAN)),
        std=tuple(config.get("std", IMAGENET_STD)),
        size=(height, width),
        classes=imagenet if count == len(imagenet) else tuple(str(number) for number in range(count)),
        paper="timm",
        collapse_at=0.8,
        download=Download(url, "", size, _file(bare, ".safetensors").name) if repository else None,
        resize=math.floor(max(height, width) / config.get("crop_pct", 0.875)),
        interpolation=chosen if (chosen := config.get("interpolation")) in INTERPOLATIONS else "bicubic",
        facts=facts,
    )


def _facts(build: Callable[[], nn.Module]) -> Facts | None:
    """Counted without memory for the weights; None where the network's code cannot do without."""
    try:
        with torch.device("meta"):
            return facts_of(build())
    except (RuntimeError, NotImplementedError):
        return None
