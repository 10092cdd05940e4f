"""`models`, `download` and `train`: the networks themselves."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.errors import ReflowError, unknown
from reflow_core.networks.catalog import find, known
from reflow_core.networks.hub import is_timm
from reflow_core.numbers import percent
from reflow_core.places import cache_folder
from reflow_core.sources import library as shelves
from reflow_core.sources.train import RECIPES, Recipe, save, train


def add(commands: Any) -> None:
    """Add the commands."""
    models = commands.add_parser("models", help="list the networks that have a name")
    models.add_argument("--json", action="store_true", help="one JSON list on stdout")
    models.set_defaults(run=_models)
    download = commands.add_parser("download", help="download public weights and their data set")
    download.add_argument("name")
    download.set_defaults(run=_download)
    training = commands.add_parser("train", help="retrain one of the shipped networks from its seed")
    training.add_argument("name")
    training.add_argument("--out", type=Path, default=shelves.SHIPPED, help="the folder for the weights and their card")
    training.add_argument("--epochs", type=int, help="number of epochs (default: the recipe's)")
    training.set_defaults(run=_train)


def _models(options: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = [
        {"name": info.name, "title": info.title, "data": info.data, "here": not shelves.missing(info.name),
         "accuracy": shelves.card(info.name).get("accuracy"), "collapse_at": info.collapse_at, "paper": info.paper}
        for info in known().values()
    ]  # fmt: skip
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        where = "ready" if row["here"] else "to download"
        print(f"{row['name']:<26}{percent(row['accuracy']) if row['accuracy'] else '':>8}  {where:<12}{row['title']}")


def _download(options: argparse.Namespace) -> None:
    if options.name not in shelves.downloads() and not is_timm(options.name):
        raise unknown("download", options.name, shelves.downloads())
    with tqdm(unit="B", unit_scale=True, desc=options.name, file=sys.stderr) as bar:

        def watch(stage: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shelves.download(options.name, watch)


def _train(options: argparse.Namespace) -> None:
    info = find(options.name)
    if info.packaged is not None:
        raise ReflowError(f"{info.name} cannot be trained here; its weights come with its package.")
    if info.download is not None:
        raise ReflowError(
            f"{info.name} cannot be trained here; download its public weights with 'download {info.name}'."
        )
    recipe = RECIPES.get(info.name, Recipe())
    if options.epochs is not None:
        if options.epochs < 1:
            raise ReflowError(f"epochs={options.epochs} is out of range; choose 1 or more.")
        recipe = dataclasses.replace(recipe, epochs=options.epochs)
    images = shelves.SETS[info.data].open(cache_folder(), info)  # a library would ask for the weights
    with tqdm(total=recipe.epochs, desc=info.name, unit="epoch", file=sys.stderr) as bar:
        network = train(
            info, images, recipe, lambda epoch, epochs, loss: (bar.set_postfix(loss=f"{loss:.3f}"), bar.update())[1]
        )
    with torch.inference_mode():
        predictions = network(evaluation_inputs(images.test, info)(slice(None))).argmax(1)
    accuracy = float((predictions == images.test.labels).double().mean())
    print(save(network, info, recipe, accuracy, images, options.out))
