"""Which images calibrate and which evaluate: drawn from the seed, seen through a view, never one for the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reflow_core.errors import ReflowError
from reflow_core.images.corruptions import corrupted
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.images.views import View, custom, views
from reflow_core.networks.info import NetworkInfo
from reflow_core.repairs import Calibration
from reflow_core.spec import Spec


def calibration(spec: Spec, info: NetworkInfo, images: ImageSet) -> Calibration:
    """The calibration set of a spec; empty where the data have no training images.

    Raises ReflowError, see `calibration_order`.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    chosen = images.train[calibration_order(spec, images.train)]
    inputs = normalize_images(view(spec.calibration_view, info)(chosen.pixels, info.size, generator), info)
    return Calibration(inputs, spec.statistics, spec.calibration_batch, spec.seed, chosen.labels, epochs=spec.epochs)


def view(name: str, info: NetworkInfo) -> View:
    """The view that a spec's `calibration_view` means for a network. Raises ReflowError."""
    name = {"train": info.train_view or "none", "eval": "none"}.get(name, name)
    if name != "custom":
        return views[name].function
    if info.own_view is None:
        raise ReflowError(
            "calibration_view=custom needs your own network code with a train_view function in its REFLOW "
            f"settings; {info.name} has none."
        )
    return custom(info.own_view.function)


def no_training_images(images: ImageSet) -> ReflowError:
    """Says that there is nothing to calibrate on."""
    return ReflowError(f"The data {images.name!r} have no training images to calibrate on; add some under train/.")


def calibration_order(spec: Spec, images: Images) -> Tensor:
    """Which training images (N,) calibrate, in order. Raises ReflowError for skew without labels.

    The share `calibration_skew` of them is of one class drawn from the seed (fewer where that class has fewer), the
    rest is a fair draw.
    """
    count, skew, order = spec.calibration_images, spec.calibration_skew, images.order(spec.seed)
    if skew == 0:
        return order[:count]
    if images.labels is None:
        raise ReflowError("calibration_skew needs labeled training images; leave it at 0.")
    known = images.labels.unique()
    same = images.labels[order] == known[spec.seed % len(known)]
    many = round(skew * count)
    chosen = same.nonzero().flatten()[:many]
    rest = torch.ones_like(same)
    rest[chosen] = False
    return order[torch.cat([chosen, rest.nonzero().flatten()[: count - many]])]


def evaluation(spec: Spec, images: ImageSet) -> Images:
    """The evaluation images of a spec. Raises ReflowError."""
    return corrupted(evaluated_split(spec, images)[evaluation_order(spec, images)], spec.corruption, spec.seed)


def evaluated_split(spec: Spec, images: ImageSet) -> Images:
    """The images among which those are that evaluate: test images, or training images to choose something by."""
    return images.test if spec.evaluation_split == "test" else images.train


def evaluation_order(spec: Spec, images: ImageSet) -> Tensor:
    """Which images (N,) of the split evaluate, in order. Raises ReflowError where none is left."""
    order = evaluating(spec, images)[: spec.evaluation_images]
    return order[evaluated_split(spec, images)[order].long_tailed(spec.evaluation_tail)]


def evaluating(spec: Spec, images: ImageSet) -> Tensor:
    """All images (N,) of the split that may evaluate, in order: of training images those that do not calibrate.

    Raises ReflowError where none is left.
    """
    if spec.evaluation_split == "test":
        return images.test.order(spec.seed)
    order = images.train.order(spec.seed)
    if len(free := order[~torch.isin(order, calibration_order(spec, images.train))]) == 0:
        raise ReflowError(
            f"All {len(images.train)} training images are used for calibration, so none is held out to choose by; "
            "use fewer calibration images."
        )
    return free


def evaluation_inputs(images: Images, info: NetworkInfo) -> Callable[[slice], Tensor]:
    """A function from a slice of the evaluation images to normalized inputs, so that no whole copy is held."""
    plain = views["none"].function
    return lambda part: normalize_images(plain(images.pixels[part], info.size, torch.Generator()), info)


def normalize_images(pixels: Tensor, info: NetworkInfo) -> Tensor:
    """Subtract the network's mean, divide by its standard deviation, per channel: floats (N, 3, H, W) in, same out."""
    mean, std = torch.tensor(info.mean)[:, None, None], torch.tensor(info.std)[:, None, None]
    return (pixels - mean).div_(std)
