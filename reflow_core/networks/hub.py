"""timm's networks and those of the Hugging Face hub, where the package timm is installed.

"timm:NAME" is a network with published weights, "timm:hf_hub:OWNER/NAME" one that anybody put on the hub for timm.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from reflow_core.errors import ReflowError, shortened, unknown
from reflow_core.networks.checkpoint import weights_folder
from reflow_core.networks.fetch import fetch
from reflow_core.networks.info import IMAGENET_MEAN, IMAGENET_STD, Download, Facts, NetworkInfo, facts_of
from reflow_core.networks.vision import torchvision
from reflow_core.networks.zoo import classes_of_imagenet
from reflow_core.watch import Watch

PREFIX, HUB = "timm:", "hf_hub:"
HOME = "https://huggingface.co"
INTERPOLATIONS = ("bilinear", "bicubic")
REPOSITORY = re.compile(r"(?!.*(--|\.\.))(\w[\w.-]{0,95})/(\w[\w.-]{0,95})", re.ASCII)  # the hub's OWNER/NAME
LARGEST = 1 << 20  # bytes of a description
MOST_CLASSES, MOST_SIDE = 50_000, 1024  # of a network that anybody put on the hub


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
        raise ReflowError("Names that begin with timm: need the package timm; run 'pip install timm'.") from None


def described(name: str) -> NetworkInfo:
    """The network of a name. Raises ReflowError for an unknown one, and for one of the hub not yet downloaded."""
    bare = name.removeprefix(PREFIX)
    if not bare.startswith(HUB):
        return _registered(bare)
    repository = _repository(bare)
    if not (config := _file(bare, ".json")).is_file():
        raise ReflowError(f"{name} is not on this machine; get it with 'python -m reflow_core download {name}'.")
    try:
        told = _read(config)
        return _info(bare, _architecture(told), repository, _checked(told | told.get("pretrained_cfg", {})))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = str(error) if isinstance(error, ReflowError) else "it does not describe a timm network"
        raise ReflowError(f"The hub's config.json of {name} cannot be used: {why}.") from None


def fetch_description(name: str, watch: Watch) -> None:
    """Ask the hub what a network is, for one that timm does not know by itself. Raises ReflowError."""
    bare = name.removeprefix(PREFIX)
    if bare.startswith(HUB):
        fetch(f"{HOME}/{_repository(bare)}/resolve/main/config.json", _file(bare, ".json"), "", 1, watch)


def _repository(bare: str) -> str:
    """OWNER/NAME of the hub: a part of an address and of a file's name, so nothing else is let through."""
    repository = bare.removeprefix(HUB)
    if REPOSITORY.fullmatch(repository) is None:
        raise ReflowError(f"{shortened(repository)!r} is not a hub name; write {PREFIX}{HUB}OWNER/NAME.")
    return repository


def _read(config: Path) -> dict[str, Any]:
    """What a stranger says of a network, as JSON."""
    if (size := config.stat().st_size) > LARGEST:
        raise ReflowError(f"it has {size:,} bytes")
    return dict(json.loads(config.read_bytes()))


def _architecture(told: dict[str, Any]) -> str:
    """A network that timm has code for; other names send timm to the hub, or to a folder of this machine."""
    architecture = str(told["architecture"])
    if not package().is_model(architecture):
        raise ReflowError(f"timm has no architecture {shortened(architecture)!r}")
    return architecture


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    """The values that are read, each of its kind and within bounds."""
    classes, sides = int(config.get("num_classes", 1000)), config.get("input_size", (3, 224, 224))
    if not 1 <= classes <= MOST_CLASSES:
        raise ReflowError(f"num_classes={classes} is not within 1 to {MOST_CLASSES}")
    if len(sides) != 3 or sides[0] != 3 or not all(isinstance(side, int) and 1 <= side <= MOST_SIDE for side in sides):
        raise ReflowError(f"input_size={shortened(str(sides))} is not 3 colors and two sides up to {MOST_SIDE}")
    crop = float(config.get("crop_pct", 0.875))
    checked = {"num_classes": classes, "input_size": tuple(sides), "crop_pct": crop}
    if not 0.1 <= crop <= 1:
        raise ReflowError(f"crop_pct={crop} is not within 0.1 to 1")
    for name, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        values = checked[name] = tuple(map(float, config.get(name, default)))
        if len(values) != 3 or not all(0 <= value <= 1 for value in values) or (name == "std" and not all(values)):
            raise ReflowError(f"{name}={shortened(str(values))} is not three values within 0 to 1")
    return checked | {"interpolation": str(config.get("interpolation"))}


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
