"""Signal probes: what leaves each layer while the network predicts, measured on a prefix of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core import stats
from reflow_core.anatomy import Anatomy
from reflow_core.moments import channels_second, image_moments, over_images
from reflow_core.result import Answers
from reflow_core.watch import Watch

BATCH = 128
PROBED = 128  # 256 images cost over 8 % of a pass over 512 (make bench: "probing")
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


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """One network's answers to the evaluation images and its signals by layer name."""

    answers: Answers
    signals: dict[str, Signal]


@dataclass(slots=True)
class _Reading:
    """Per-image moments gathered so far at one site."""

    means: list[Tensor]
    variances: list[Tensor]
    floors: list[Tensor]
    positions: int = 1


def observe(
    network: nn.Module,
    anatomy: Anatomy,
    inputs: Callable[[slice], Tensor],
    labels: NDArray[np.int64] | None,
    count: int,
    watch: Watch,
    stage: str,
) -> Observation:
    """Answers of a private `network` to `count` images, its layers measured on the first `PROBED` of them.

    `inputs`: a slice of the images -> normalised floats (n, 3, H, W). `stage`: the name told to `watch`.
    """
    predicted, confidence = [], []
    finite = True
    with torch.inference_mode(), _probing(network, anatomy) as probe:
        for start in range(0, count, BATCH):
            watch(stage, start, count)
            probe.room = max(0, min(PROBED, count) - start)
            logits = network(inputs(slice(start, min(start + BATCH, count))))
            finite &= bool(logits.isfinite().all())
            best = logits.softmax(1).max(1)
            predicted.append(best.indices)
            confidence.append(best.values)
        signals = {site.name: probe.signal(site.name) for site in anatomy.sites}
        separability = probe.separability(labels)
    answers = Answers(torch.cat(predicted).numpy(), torch.cat(confidence).numpy(), separability, finite)
    return Observation(answers, signals)


class _Probe:
    """Hooks on every site and on the classifier; reads at most `room` images of the batch that passes."""

    def __init__(self, network: nn.Module) -> None:
        self.modules = dict(network.named_modules())
        self.room = 0
        self.readings: dict[str, _Reading] = {}
        self.features: list[Tensor] = []

    def read(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        """A forward hook that adds to the readings of one site."""
        reading = self.readings[name] = _Reading([], [], [])

        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            if self.room <= 0:
                return
            # A BatchNorm's output is an affine map of its input, so the input's moments serve both.
            watched = arguments[0] if isinstance(module, _BatchNorm) else channels_second(module, output)
            watched = watched[: self.room]
            mean, variance = image_moments(watched)
            reading.means.append(mean)
            reading.variances.append(variance)
            reading.positions = watched[0, 0].numel()
            if isinstance(module, nn.LayerNorm):
                reading.floors.append(layer_norm_floor(module, arguments[0][: self.room]))

        return hook

    def read_features(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        """A forward pre-hook on the classifier: the penultimate features, meant over positions if there are any."""
        if self.room > 0:
            self.features.append(
                arguments[0][: self.room].flatten(2).mean(2) if arguments[0].ndim > 2 else arguments[0][: self.room]
            )

    def signal(self, name: str) -> Signal:
        """The gathered readings of one site as a signal."""
        reading, module = self.readings[name], self.modules[name]
        mean, variance = torch.cat(reading.means), torch.cat(reading.variances)
        arriving = over_images(mean, variance, reading.positions).variance
        if not isinstance(module, _BatchNorm):
            floor = float(torch.cat(reading.floors).mean()) if reading.floors else None
            return Signal(arriving.numpy(), mean.numpy(), floor)
        scale, shift = affine(module)
        floor = float((arriving / (arriving + module.eps)).mean())
        return Signal((arriving * scale**2).numpy(), (mean * scale + shift).numpy(), floor)

    def separability(self, labels: NDArray[np.int64] | None) -> float | None:
        """Of the gathered penultimate features; None without labels or where it is not defined."""
        if labels is None or not self.features:
            return None
        features = torch.cat(self.features).double().numpy()
        share = stats.separability(features, labels[: len(features)]) if np.isfinite(features).all() else np.nan
        return None if np.isnan(share) else share


@contextmanager
def _probing(network: nn.Module, anatomy: Anatomy) -> Iterator[_Probe]:
    probe = _Probe(network)
    handles = [probe.modules[site.name].register_forward_hook(probe.read(site.name)) for site in anatomy.sites]
    if anatomy.classifier is not None:
        handles.append(probe.modules[anatomy.classifier].register_forward_pre_hook(probe.read_features))
    try:
        yield probe
    finally:
        for handle in handles:
            handle.remove()


def affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) in float64 that a BatchNorm in eval mode applies: γ/√(σ²+ε) and β − μ·scale."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def layer_norm_floor(norm: nn.LayerNorm, arriving: Tensor) -> Tensor:
    """σ²/(σ²+ε) of each normalised group that arrives, flattened."""
    dims = tuple(range(-len(norm.normalized_shape), 0))
    variance = arriving.double().var(dims, correction=0)
    return (variance / (variance + norm.eps)).flatten()
