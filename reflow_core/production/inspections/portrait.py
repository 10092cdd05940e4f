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
from reflow_core.numbers import whole_percent
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import InspectionInfo, inspections
from reflow_core.signal import similarity
from reflow_core.signal.copies import Hook, clone_on, device_of, hooked, watched
from reflow_core.signal.moments import channels_second
from reflow_core.signal.probes import penultimate
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch

PICTURED = 8  # images whose feature maps are kept
SIDE = 16  # pixels a side of a feature map at most; larger ones are averaged
MAPPED = 256  # images whose penultimate features are mapped
SPREAD = 3.0  # of dense's standard deviations that a feature map's gray values span, each way from the channel's mean
BATCH = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class NetworkSignal:
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
    """The signal of single images in every variant: nothing here is averaged over images but the channel's mean.

    Facts: `layers` (names), `sides` (h, w of each layer's map), `channels` (the channel shown: dense's strongest),
    `maps` by variant (base64 of bytes, layer after layer (PICTURED, h, w): 128 is the channel's mean in this network,
    1 and 255 are SPREAD of dense's standard deviations away), `points` by variant ((N, 2): see `plane`), `groups` (N,)
    class numbers. Raises ReflowError.
    """
    with Experiment.open(spec, source, watch) as experiment:
        signals = dict(_variants(experiment))
    dense = signals["dense"]
    channels = {name: strongest(maps) for name, maps in dense.maps.items()}
    pictures = {variant: gray_levels(signal, dense, channels) for variant, signal in signals.items()}
    groups = experiment.labels if experiment.labels is not None else experiment.dense().predictions.predicted
    count = len(dense.features)
    points = mapped({variant: signal.features for variant, signal in signals.items()}, groups[:count])
    facts = {
        "layers": list(channels),
        "sides": [list(dense.maps[name].shape[2:]) for name in channels],
        "channels": list(channels.values()),
        "pictured": min(PICTURED, len(experiment.evaluation)),
        "maps": {variant: base64.b64encode(b"".join(levels)).decode() for variant, levels in pictures.items()},
        "points": {variant: np.round(own, 3).tolist() for variant, own in points.items()},
        "groups": groups[:count].tolist(),
        "classes": list(experiment.images.classes),
        "labeled": experiment.labels is not None,
    }
    return Finding(
        spec, _answer(points, groups[:count]), {"Map of features": _table(points, groups, experiment)}, facts
    )


def _variants(experiment: Experiment) -> Iterator[tuple[str, NetworkSignal]]:
    yield "dense", signal_of(clone_on(experiment.network.module, experiment.source.device), experiment, "dense")
    network = experiment.clone(experiment.prune())
    yield "pruned", signal_of(network, experiment, "pruned")
    if experiment.repair(network)[0] is not None:
        yield "repaired", signal_of(network, experiment, "repaired")


def signal_of(network: nn.Module, experiment: Experiment, stage: str) -> NetworkSignal:
    """Run the first evaluation images through a cloned network: feature maps at every site, penultimate features."""
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
        watched(network, experiment.watch, stage, count, -(-count // BATCH)),
        hooked(network, before, {name: read(name) for name in maps}),
    ):
        for start in range(0, count, BATCH):
            network(experiment.inputs(slice(start, min(start + BATCH, count))).to(device_of(network)))
    last = torch.cat(features).double().numpy() if features else np.zeros((0, 1))
    return NetworkSignal({name: torch.cat(parts)[:PICTURED].float() for name, parts in maps.items()}, last)


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


def gray_levels(signal: NetworkSignal, dense: NetworkSignal, channels: Mapping[str, int]) -> list[bytes]:
    """Each layer's maps of its channel as bytes (P, h, w): the distance from the channel's own mean in dense's std."""
    pictures = []
    for name, channel in channels.items():
        values, reference = signal.maps[name][:, channel], dense.maps[name][:, channel]
        std = float(reference.std(correction=0)) or 1.0
        levels = 128 + 127 * ((values - values.mean()) / (SPREAD * std)).nan_to_num(0).clamp(-1, 1)
        pictures.append(levels.round().to(torch.uint8).numpy().tobytes())
    return pictures


def plane(features: Floats, groups: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean (D,) and the two axes (D, 2) along which dense's class means lie furthest apart.

    Principal components of the class means (multiple discriminants without whitening, so that lengths stay lengths).
    """
    center = features.mean(0)
    means = np.stack([features[groups == group].mean(0) for group in np.unique(groups)]) - center
    axes = np.linalg.svd(means, full_matrices=False)[2][:2]
    return center, np.vstack([axes, np.zeros((2 - len(axes), features.shape[1]))]).T


def mapped(features: Mapping[str, Floats], groups: NDArray[np.int64]) -> dict[str, Floats]:
    """All variants in dense's plane (N, 2), in units of dense's own standard deviation there; nothing is refitted."""
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
    spreads = [f"{whole_percent(_spread(own) / whole)} {name}" for name, own in points.items() if name != "dense"]
    separated = [f"{variant} {whole_percent(similarity.separability(own, groups))}" for variant, own in points.items()]
    return (
        f"In the plane of the dense network's features, the images spread {' and '.join(spreads)} as far as in "
        "dense. Nearest-class-mean accuracy in this plane of two dimensions, at any scale: "
        f"{', '.join(separated)}."
    )


def _table(points: Mapping[str, Floats], groups: NDArray[np.int64], experiment: Experiment) -> pd.DataFrame:
    rows = [
        pd.DataFrame(
            {
                "variant": variant,
                "image": np.arange(len(own)),
                "class": [experiment.images.classes[int(group)] for group in groups[: len(own)]],
                "x": own[:, 0],
                "y": own[:, 1],
            }
        )
        for variant, own in points.items()
    ]
    return pd.concat(rows, ignore_index=True)


def image_maps(finding: Finding, image: int) -> dict[str, bytes]:
    """By variant the maps of one of the pictured images, layer after layer, (h, w) bytes each."""
    count, maps = finding.facts["pictured"], {}
    for variant, packed in finding.facts["maps"].items():
        content, start, layers = base64.b64decode(packed), 0, []
        for height, width in finding.facts["sides"]:
            size = height * width
            layers.append(content[start + image * size : start + (image + 1) * size])
            start += count * size
        maps[variant] = b"".join(layers)
    return maps
