"""A portrait of the signal: feature maps of some images in every layer, and a map of the penultimate features."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reflow_core.diagnosis.experiment import Experiment
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import InspectionInfo, inspections
from reflow_core.signal import stats
from reflow_core.signal.copies import Hook, clone_on, device_of, hooked, watched
from reflow_core.signal.moments import channels_second
from reflow_core.signal.probes import penultimate
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch

PICTURED = 8  # images whose feature maps are kept
SIDE = 16  # pixels a side of a feature map at most; larger ones are averaged
MAPPED = 256  # images whose penultimate features are mapped
SPREAD = 3.0  # dense deviations from the channel's mean that a feature map's gray values span, each way
BATCH = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """One network's signal. `maps`: by layer (P, C, h, w) of the first P images; `features` (N, D), or (0, 1)."""

    maps: Mapping[str, Tensor]
    features: Floats


@inspections.register(
    InspectionInfo(
        "portrait",
        "Portrait",
        "Feature maps of a few images in every layer, and a map of the penultimate features.",
        "",
    )
)
def portrait(spec: Spec, source: Library, watch: Watch) -> Finding:
    """See the signal die and come back: nothing here is averaged over images but the channel's mean.

    Facts: `layers` (names), `sides` (h, w of each layer's map), `channels` (the channel shown: dense's strongest),
    `maps` by variant (base64 of bytes, layer after layer (PICTURED, h, w): 128 is the channel's mean in this network,
    1 and 255 are SPREAD dense deviations away), `points` by variant ((N, 2): see `plane`), `groups` (N,) class numbers.
    Raises ReflowError.
    """
    with Experiment.open(spec, source, watch) as experiment:
        seen = dict(_variants(experiment))
    channels = {name: strongest(maps) for name, maps in seen["dense"].maps.items()}
    pictures = {variant: gray(each, seen["dense"], channels) for variant, each in seen.items()}
    groups = experiment.labels if experiment.labels is not None else experiment.dense().predictions.predicted
    count = len(seen["dense"].features)
    points = mapped({variant: each.features for variant, each in seen.items()}, groups[:count])
    facts = {
        "layers": list(channels),
        "sides": [list(seen["dense"].maps[name].shape[2:]) for name in channels],
        "channels": list(channels.values()),
        "pictured": min(PICTURED, len(experiment.evaluation)),
        "maps": {variant: base64.b64encode(b"".join(each)).decode() for variant, each in pictures.items()},
        "points": {variant: np.round(each, 3).tolist() for variant, each in points.items()},
        "groups": groups[:count].tolist(),
        "classes": list(experiment.images.classes),
        "labeled": experiment.labels is not None,
    }
    return Finding(
        spec, _answer(points, groups[:count]), {"Map of features": _table(points, groups, experiment)}, facts
    )


def _variants(experiment: Experiment) -> Iterator[tuple[str, Seen]]:
    yield "dense", see(clone_on(experiment.network.module, experiment.source.device), experiment, "dense")
    private = experiment.clone(experiment.prune())
    yield "pruned", see(private, experiment, "pruned")
    if experiment.repair(private)[0] is not None:
        yield "repaired", see(private, experiment, "repaired")


def see(private: nn.Module, experiment: Experiment, stage: str) -> Seen:
    """Run the first evaluation images through a private copy: feature maps at every site, features before the end."""
    maps: dict[str, list[Tensor]] = {site.name: [] for site in experiment.trace.sites}
    features: list[Tensor] = []

    def read(name: str) -> Hook:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            if sum(map(len, maps[name])) < PICTURED:
                maps[name].append(shrunk(planar(channels_second(module, output[:PICTURED]))).cpu())

        return hook

    def read_features(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        features.append(penultimate(arguments[0]))

    count = min(MAPPED, len(experiment.evaluation))
    before = {} if experiment.trace.classifier is None else {experiment.trace.classifier: read_features}
    with (
        torch.inference_mode(),
        watched(private, experiment.watch, stage, count, -(-count // BATCH)),
        hooked(private, before, {name: read(name) for name in maps}),
    ):
        for start in range(0, count, BATCH):
            private(experiment.inputs(slice(start, min(start + BATCH, count))).to(device_of(private)))
    known = torch.cat(features).double().numpy() if features else np.zeros((0, 1))
    return Seen({name: torch.cat(parts)[:PICTURED].float() for name, parts in maps.items()}, known)


def planar(output: Tensor) -> Tensor:
    """(N, C, …) as pictures (N, C, h, w): tokens in their square, without the class token; vectors as one pixel."""
    if output.ndim == 4:
        return output
    tokens = output.flatten(2)
    side = math.isqrt(tokens.shape[2])
    if side > 1 and tokens.shape[2] - side**2 in (0, 1):
        square: Tensor = tokens[:, :, -(side**2) :].unflatten(2, (side, side))
        return square
    return tokens[:, :, None]


def shrunk(maps: Tensor) -> Tensor:
    """Averaged down to SIDE pixels a side where they are larger: (N, C, H, W) -> (N, C, h, w)."""
    height, width = maps.shape[2:]
    if max(height, width) <= SIDE:
        return maps
    pooled: Tensor = functional.adaptive_avg_pool2d(maps.float(), (min(height, SIDE), min(width, SIDE)))
    return pooled


def strongest(maps: Tensor) -> int:
    """The channel of (N, C, h, w) with the largest variance over images and positions."""
    return int(maps.transpose(0, 1).flatten(1).var(1, correction=0).argmax())


def gray(seen: Seen, dense: Seen, channels: Mapping[str, int]) -> list[bytes]:
    """Each layer's maps of its channel as bytes (P, h, w): how far from the channel's own mean, in dense deviations."""
    found = []
    for name, channel in channels.items():
        values, reference = seen.maps[name][:, channel], dense.maps[name][:, channel]
        deviation = float(reference.std(correction=0)) or 1.0
        levels = 128 + 127 * ((values - values.mean()) / (SPREAD * deviation)).nan_to_num(0).clamp(-1, 1)
        found.append(levels.round().to(torch.uint8).numpy().tobytes())
    return found


def plane(features: Floats, groups: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean (D,) and the two axes (D, 2) along which dense's class means lie furthest apart.

    Principal components of the class means (multiple discriminants without whitening, so that lengths stay lengths).
    """
    center = features.mean(0)
    means = np.stack([features[groups == group].mean(0) for group in np.unique(groups)]) - center
    axes = np.linalg.svd(means, full_matrices=False)[2][:2]
    return center, np.vstack([axes, np.zeros((2 - len(axes), features.shape[1]))]).T


def mapped(features: Mapping[str, Floats], groups: NDArray[np.int64]) -> dict[str, Floats]:
    """All variants in dense's plane (N, 2), in units of dense's own deviation there; nothing is refitted for them."""
    dense = features["dense"]
    if not dense.size or not np.isfinite(dense).all():
        return {variant: np.zeros((0, 2)) for variant in features}
    center, axes = plane(dense, groups)
    unit = float(((dense - center) @ axes).std()) or 1.0
    return {variant: np.nan_to_num((values - center) @ axes / unit) for variant, values in features.items()}


def _spread(points: Floats) -> float:
    """Root mean square distance from the center of the points."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()))


def _answer(points: Mapping[str, Floats], groups: NDArray[np.int64]) -> str:
    if not points["dense"].size:
        return "This network's penultimate features could not be read."
    whole = _spread(points["dense"])
    told = [f"{100 * _spread(each) / whole:.0f} % {variant}" for variant, each in points.items() if variant != "dense"]
    apart = [f"{variant} {100 * stats.separability(each, groups):.0f} %" for variant, each in points.items()]
    return (
        f"In the plane of the dense network's features the images spread {' and '.join(told)} as far as in dense. "
        f"Told apart there by the nearest class mean, whatever the scale: {', '.join(apart)}."
    )


def _table(points: Mapping[str, Floats], groups: NDArray[np.int64], experiment: Experiment) -> pd.DataFrame:
    rows = [
        pd.DataFrame(
            {
                "variant": variant,
                "image": np.arange(len(each)),
                "class": [experiment.images.classes[int(group)] for group in groups[: len(each)]],
                "x": each[:, 0],
                "y": each[:, 1],
            }
        )
        for variant, each in points.items()
    ]
    return pd.concat(rows, ignore_index=True)


def image_maps(found: Finding, image: int) -> dict[str, bytes]:
    """By variant the maps of one of the pictured images, layer after layer, (h, w) bytes each."""
    count, taken = found.facts["pictured"], {}
    for variant, packed in found.facts["maps"].items():
        content, start, own = base64.b64decode(packed), 0, []
        for height, width in found.facts["sides"]:
            size = height * width
            own.append(content[start + image * size : start + (image + 1) * size])
            start += count * size
        taken[variant] = b"".join(own)
    return taken
