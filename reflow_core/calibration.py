"""Calibration images: always training images, seen through a view, drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from reflow_core.data.images import Images, ImageSet
from reflow_core.data.views import views
from reflow_core.models.catalogue import NetworkInfo
from reflow_core.spec import Spec


@dataclass(frozen=True, slots=True)
class Calibration:
    """Normalised network inputs (N, 3, H, W) and how a repair is to read them (the spec's fields)."""

    inputs: Tensor
    statistics: str = "population"
    batch: int = 128
    seed: int = 0


def calibration(spec: Spec, info: NetworkInfo, images: ImageSet) -> Calibration:
    """The calibration set of a spec; empty where the data have no training images."""
    view = info.train_view if spec.calibration_view == "train" else "none"
    generator = torch.Generator().manual_seed(spec.seed)
    pixels = images.train.take(spec.calibration_images, spec.seed).pixels
    inputs = normalise(views[view].function(pixels, generator), info)
    return Calibration(inputs, spec.statistics, spec.calibration_batch, spec.seed)


def evaluation_inputs(images: Images, info: NetworkInfo) -> Callable[[slice], Tensor]:
    """A function from a slice of the evaluation images to normalised inputs, so that no whole copy is held."""
    plain = views["none"].function
    return lambda part: normalise(plain(images.pixels[part], torch.Generator()), info)


def normalise(pixels: Tensor, info: NetworkInfo) -> Tensor:
    """Subtract the network's mean and divide by its deviation, per channel: floats (N, 3, H, W) in, same out."""
    mean, std = torch.tensor(info.mean)[:, None, None], torch.tensor(info.std)[:, None, None]
    return (pixels - mean) / std
