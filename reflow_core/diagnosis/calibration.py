"""Which images calibrate and which evaluate: drawn from the seed, seen through a view, never one for the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reflow_core.errors import ReflowError
from reflow_core.images.corruptions import corrupted
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.images.tail import long_tail
from reflow_core.images.views import View, custom, views
from reflow_core.networks.info import NetworkInfo
from reflow_core.repairs import Calibration
from reflow_core.spec import Spec


def calibration(spec: Spec, info: NetworkInfo, images: ImageSet) -> Calibration:
    """The calibration set of a spec; empty where the data have no training images. Raises ReflowError, see `skewed`."""
    generator = torch.Generator().manual_seed(spec.seed)
    chosen = skewed(images.train, spec.calibration_images, spec.calibration_skew, spec.seed)
    inputs = normalize_images(view(spec.calibration_view, info)(chosen.pixels, info.size, generator), info)
    return Calibration(inputs, spec.statistics, spec.calibration_batch, spec.seed, chosen.labels)


def view(name: str, info: NetworkInfo) -> View:
    """The view that a spec's `calibration_view` means for a network. Raises ReflowError."""
    name = {"train": info.train_view or "none", "eval": "none"}.get(name, name)
    if name != "custom":
        return views[name].function
    if info.own_view is None:
        raise ReflowError(
            "calibration_view=custom is for a network of your own code, with a function as train_view in its REFLOW; "
            f"{info.name} has none."
        )
    return custom(info.own_view.function)


def no_training_images(images: ImageSet) -> ReflowError:
    """Says that there is nothing to calibrate on."""
    return ReflowError(f"The data {images.name!r} have no training images to calibrate on; put some under train/.")


def skewed(images: Images, count: int, skew: float, seed: int) -> Images:
    """`count` images of which the share `skew` (0 to 1) is of one class drawn from the seed, the rest a fair draw.

    Fewer where that class has fewer. Raises ReflowError for skew without labels.
    """
    if skew == 0:
        return images.take(count, seed)
    if images.labels is None:
        raise ReflowError("calibration_skew needs labeled training images; leave it out.")
    order, known = images.order(seed), images.labels.unique()
    same = images.labels[order] == known[seed % len(known)]
    many = round(skew * count)
    chosen = same.nonzero().flatten()[:many]
    rest = torch.ones_like(same)
    rest[chosen] = False
    return images[order[torch.cat([chosen, rest.nonzero().flatten()[: count - many]])]]


def evaluation(spec: Spec, images: ImageSet) -> Images:
    """The evaluation images of a spec. Raises ReflowError."""
    return corrupted(images.test[evaluation_order(spec, images)], spec.corruption, spec.seed)


def evaluation_order(spec: Spec, images: ImageSet) -> Tensor:
    """Which test images (N,) evaluate, in order. Raises ReflowError."""
    order = images.test.order(spec.seed)[: spec.evaluation_images]
    return order[long_tailed(images.test[order], spec.evaluation_tail)]


def long_tailed(images: Images, ratio: float) -> Tensor:
    """Which images (N,) to keep so that classes get rarer exponentially (see `long_tail`); 1: all.

    Raises ReflowError for images without labels.
    """
    if ratio == 1:
        return torch.arange(len(images))
    if images.labels is None:
        raise ReflowError("evaluation_tail needs labeled evaluation images; leave it out.")
    return long_tail(images.labels, ratio)


def evaluation_inputs(images: Images, info: NetworkInfo) -> Callable[[slice], Tensor]:
    """A function from a slice of the evaluation images to normalized inputs, so that no whole copy is held."""
    plain = views["none"].function
    return lambda part: normalize_images(plain(images.pixels[part], info.size, torch.Generator()), info)


def normalize_images(pixels: Tensor, info: NetworkInfo) -> Tensor:
    """Subtract the network's mean, divide by its standard deviation, per channel: floats (N, 3, H, W) in, same out."""
    mean, std = torch.tensor(info.mean)[:, None, None], torch.tensor(info.std)[:, None, None]
    return (pixels - mean) / std
