"""Signal probes: what leaves each layer while the network predicts, measured on a prefix of the images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core.batches import at_once
from reflow_core.signal import similarity
from reflow_core.signal.copies import Hook, device_of, hooked, watched
from reflow_core.signal.fold import Folded, affine
from reflow_core.signal.moments import channel_dimension, channels_second, image_moments, image_readings, over_images
from reflow_core.signal.trace import Trace
from reflow_core.watch import Watch

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Signal:
    """What leaves one layer.

    `variance` (C,): population variance over images and positions. `sketch` (n, C): each image's mean over positions.
    `eps_floor`: mean of σ²/(σ²+ε) where σ² is the variance that arrives; None for a layer that is no norm.
    """

    variance: Floats
    sketch: Floats
    eps_floor: float | None


def signals_of(network: nn.Module, trace: Trace, inputs: Tensor, watch: Watch, stage: str) -> dict[str, Signal]:
    """The signals by layer of a private network on all of `inputs` (N, …), whatever it returns."""
    probe = Probe(network, trace)
    probe.room = len(inputs)
    parts = inputs.split(at_once(inputs, device_of(network)))
    with torch.inference_mode(), watched(network, watch, stage, len(inputs), len(parts)), probe.attached():
        for part in parts:
            network(part.to(device_of(network)))
        return probe.signals()


class Probe:
    """Hooks on every site and on the classifier; reads at most `room` images of the batch that passes."""

    def __init__(self, network: nn.Module, trace: Trace) -> None:
        self.network, self.classifier = network, trace.classifier
        self.modules = {site.name: network.get_submodule(site.name) for site in trace.sites}
        self.room = 0
        self.readings: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in self.modules}
        self.floors: dict[str, list[Tensor]] = {}
        self.features: list[Tensor] = []

    def attached(self) -> AbstractContextManager[None]:
        """Reads for as long as the body runs."""
        before = {} if self.classifier is None else {self.classifier: self._read_features}
        return hooked(self.network, before, {name: self._reader(name) for name in self.readings})

    def _reader(self, name: str) -> Hook:
        """A forward hook that adds to the readings of one site."""

        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            if self.room <= 0:
                return
            read = arguments[0] if maps_affinely(module) else channels_second(module, output)
            self.readings[name].append(image_readings(read[: self.room]))
            if isinstance(module, nn.LayerNorm):
                self.floors.setdefault(name, []).append(layer_norm_floor(module, arguments[0][: self.room]))

        return hook

    def _read_features(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        """A forward pre-hook on the classifier."""
        if self.room > 0:
            self.features.append(penultimate(arguments[0][: self.room]))

    def signals(self) -> dict[str, Signal]:
        """The gathered readings as signals: one computation over the channels of all sites, then cut apart."""
        if not self.readings:
            return {}
        batches = [[torch.cat(part, 1) for part in zip(*batch, strict=True)] for batch in self._batches()]
        mean, variance = image_moments(*(torch.cat(part) for part in zip(*batches, strict=True)))
        arriving = over_images(mean, variance).variance
        widths = {name: readings[0][0].shape[1] for name, readings in self.readings.items()}
        maps = [affine(self.modules[name], width) for name, width in widths.items()]
        scale, shift = (torch.cat(part) for part in zip(*maps, strict=True))
        leaving, sketch = arriving * scale**2, mean * scale + shift
        signals, start = {}, 0
        for name, width in widths.items():
            own = slice(start, start := start + width)
            signals[name] = Signal(leaving[own].numpy(), sketch[:, own].numpy(), self._floor(name, arriving[own]))
        return signals

    def _batches(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """The readings of all sites, batch by batch."""
        return map(list, zip(*self.readings.values(), strict=True))

    def _floor(self, name: str, arriving: Tensor) -> float | None:
        module = self.modules[name]
        if isinstance(module, Folded):
            arriving = arriving / module.scale**2
            return float((arriving / (arriving + module.eps)).mean())
        if isinstance(module, _BatchNorm) and maps_affinely(module):
            return float((arriving / (arriving + module.eps)).mean())
        return float(torch.cat(self.floors[name]).mean()) if name in self.floors else None

    def separability(self, labels: NDArray[np.int64] | None) -> float | None:
        """Of the gathered penultimate features; None without labels or where it is not defined."""
        if labels is None or not self.features:
            return None
        features = torch.cat(self.features).double().numpy()
        share = similarity.separability(features, labels[: len(features)]) if np.isfinite(features).all() else np.nan
        return None if np.isnan(share) else share


def penultimate(arriving: Tensor) -> Tensor:
    """The features (N, C) that reach the classifier, on the CPU: the mean over positions if there are any."""
    return (arriving.flatten(2).mean(2) if arriving.ndim > 2 else arriving).cpu()


def maps_affinely(module: nn.Module) -> bool:
    """Whether the output is an affine map of the input, so that the input's moments serve both: a usual BatchNorm."""
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def layer_norm_floor(norm: nn.LayerNorm, arriving: Tensor) -> Tensor:
    """σ²/(σ²+ε) of each normalized group that arrives, flattened."""
    dims = tuple(range(-len(norm.normalized_shape), 0))
    dims = (channel_dimension(norm, arriving),) if len(dims) == 1 else dims
    variance = arriving.cpu().double().var(dims, correction=0)
    return (variance / (variance + norm.eps)).flatten()
