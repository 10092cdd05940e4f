"""torchvision's classification networks, from a table that ships: listing them costs no import of torchvision.

`make zoo` writes the table anew from the torchvision that is installed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from torch import nn

from reflow_core.networks.info import Download, Facts, NetworkInfo, facts_of
from reflow_core.networks.vision import torchvision
from reflow_core.numbers import percent
from reflow_core.places import ASSETS

TABLE = ASSETS / "torchvision.json"
WITH_SIDE_HEADS = ("googlenet", "inception_v3")  # the published weights carry training's auxiliary classifiers
PRESETS = ("resnet50", "resnet101", "regnet_x_32gf", "resnext101_32x8d", "mobilenet_v2")  # the paper's, or near them


@functools.cache
def zoo() -> dict[str, NetworkInfo]:
    """Every network of the table by its torchvision name, the paper's first."""
    rows = sorted(json.loads(TABLE.read_text())["networks"], key=lambda row: (row["name"] not in PRESETS, row["name"]))
    return {row["name"]: _info(row) for row in rows}


@functools.cache
def classes_of_imagenet() -> tuple[str, ...]:
    """The names of ImageNet's thousand classes, by index."""
    return tuple(name for _, name in json.loads(TABLE.read_text())["classes"])


@functools.cache
def synsets() -> dict[str, int]:
    """ImageNet's class index by WordNet synset, as folders of ImageNet and Imagenette are named."""
    return {synset: index for index, (synset, _) in enumerate(json.loads(TABLE.read_text())["classes"])}


def _info(row: dict[str, Any]) -> NetworkInfo:
    return NetworkInfo(
        name=row["name"],
        title=f"{row['name']} on ImageNet ({percent(row['accuracy'])} published)",
        build=builder(row["name"]),
        data="imagenette",
        train_view="imagenet",
        mean=tuple(row["mean"]),
        std=tuple(row["std"]),
        size=(row["crop"], row["crop"]),
        classes=classes_of_imagenet(),
        paper="torchvision",
        collapse_at=0.8,
        download=Download(row["url"], row["url"].rsplit("-", 1)[1].partition(".")[0], row["bytes"]),
        resize=row["resize"],
        interpolation=row["interpolation"],
        facts=Facts(row["parameters"], row["layers"], row["norms"], row["multiply_adds"]),
    )


def builder(name: str) -> Callable[[int], nn.Module]:
    """A function from a number of classes to the freshly built network, as its published weights expect it."""
    more: dict[str, Any] = {"init_weights": False} if name in WITH_SIDE_HEADS else {}

    def build(classes: int = 1000) -> nn.Module:
        network: nn.Module = torchvision().models.get_model(name, num_classes=classes, **more)
        if hasattr(network, "transform_input"):
            network.transform_input = True  # type: ignore[assignment]  # the weights were ported from another normalization
        return network

    return build


def describe(name: str) -> dict[str, Any]:
    """A network's row of the table, from torchvision itself."""
    weights = torchvision().models.get_model_weights(name).DEFAULT
    seen = weights.transforms()
    facts = facts_of(builder(name)(1000))
    return {
        "name": name,
        "url": weights.url,
        "bytes": round(weights.meta["_file_size"] * 2**20),
        "accuracy": round(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
        "multiply_adds": round(weights.meta["_ops"] * 1e9),
        "parameters": facts.parameters,
        "layers": facts.layers,
        "norms": facts.norms,
        "crop": seen.crop_size[0],
        "resize": seen.resize_size[0],
        "interpolation": seen.interpolation.value,
        "mean": seen.mean,
        "std": seen.std,
    }


def write() -> None:
    """Write the rows of all networks into the table; its classes stay as they are."""
    table, models = json.loads(TABLE.read_text()), torchvision().models
    table["networks"] = [describe(name) for name in models.list_models(module=models)]
    lines = ",\n".join(f"  {json.dumps(row)}" for row in table["networks"])
    classes = json.dumps(table["classes"], ensure_ascii=False)
    TABLE.write_text(f'{{"classes": {classes},\n "networks": [\n{lines}\n ]}}\n')
