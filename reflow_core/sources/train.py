"""Training of the networks that ship: seeded, reproducible, on real images, in under two minutes on two cores."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from reflow_core.images.canvas import Lengths, drawn_sides, on_canvas
from reflow_core.images.digits import SPLIT_SEED
from reflow_core.images.image_set import ImageSet
from reflow_core.images.views import views
from reflow_core.networks.info import NetworkInfo


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyper-parameters of one training: SGD with Nesterov momentum under a one-cycle learning rate.

    `lengths`: sides of the canvases on which images are seen, each with the share of the batches; none: as they are.
    """

    epochs: int = 20
    batch: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    seed: int = 0
    lengths: Lengths = ()


RECIPES = {
    "resnet20-digits": Recipe(seed=5),
    "resnet20-digits-longtail": Recipe(epochs=40),
    "mobilenet-digits": Recipe(epochs=30),
    "convnext-digits": Recipe(epochs=40, optimizer="adamw", learning_rate=4e-3, weight_decay=0.05),
    "vit-digits": Recipe(
        epochs=120,
        batch=32,
        optimizer="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        lengths=((16, 0.5), (24, 0.3), (32, 0.15), (40, 0.05)),
    ),
}
Report = Callable[[int, int, float], None]


def train(info: NetworkInfo, images: ImageSet, recipe: Recipe, report: Report) -> nn.Module:
    """A freshly trained network in eval mode. `report(epoch, epochs, loss)` is called after every epoch."""
    torch.manual_seed(recipe.seed)
    network = info.build(len(info.classes))
    optimizer = build_optimizer(network, recipe)
    steps = -(-len(images.train) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps)
    generator = torch.Generator().manual_seed(recipe.seed)
    for epoch in range(recipe.epochs):
        loss = 0.0
        for pixels, labels in batches(info, images, recipe, generator):
            loss += step(network, optimizer, pixels, labels) / steps
            schedule.step()
        report(epoch + 1, recipe.epochs, loss)
    return network.eval()


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD for networks with BatchNorm, AdamW for those without."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        network.parameters(), recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )


def batches(
    info: NetworkInfo, images: ImageSet, recipe: Recipe, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented and normalized batches, each on a canvas of one size."""
    assert images.train.labels is not None
    order = torch.randperm(len(images.train), generator=generator)
    seen = views[info.train_view].function(images.train.pixels[order], info.size, generator)
    mean, std = torch.tensor(info.mean)[:, None, None], torch.tensor(info.std)[:, None, None]
    for pixels, labels in zip(seen.split(recipe.batch), images.train.labels[order].split(recipe.batch), strict=True):
        if recipe.lengths:
            pixels = on_canvas(pixels, int(drawn_sides(recipe.lengths, 1, generator)), generator)
        yield (pixels - mean) / std, labels


def step(network: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor) -> float:
    """One optimizer step; returns the batch's cross-entropy in nats."""
    loss = F.cross_entropy(network.train()(pixels), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def save(
    network: nn.Module, info: NetworkInfo, recipe: Recipe, accuracy: float, images: ImageSet, folder: Path
) -> Path:
    """Write NAME.safetensors and its card NAME.json, which counts training images by class; returns its path."""
    assert images.train.labels is not None
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{info.name}.safetensors"
    save_file(network.state_dict(), weights)
    card = {
        "name": info.name,
        "data": info.data,
        "split_seed": SPLIT_SEED,
        "training_view": info.train_view,
        "evaluation_view": "none",
        "mean": info.mean,
        "std": info.std,
        "recipe": asdict(recipe),
        "accuracy": accuracy,
        "evaluation_images": len(images.test),
        "training_images_by_class": images.train.labels.bincount(minlength=len(info.classes)).tolist(),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    path = folder / f"{info.name}.json"
    path.write_text(json.dumps(card, indent=2) + "\n")
    return path
