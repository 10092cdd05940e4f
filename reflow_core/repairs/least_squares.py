"""Least-squares reconstruction: re-fit the surviving weights so that each layer says again what the dense one says.

Walks in forward order, no gradients, no labels, the mask unchanged. The layer-wise objective is that of Optimal Brain
Compression (arXiv 2208.11580) and of He et al., arXiv 1707.06168; here the inputs come from the network as it is
repaired so far, and the norms behind are re-estimated as in REFLOW in the same walk. He et al.'s other target, of a
whole residual block with what its shortcut has lost so far, is left out: every layer aims at its own dense output.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from reflow_core.errors import ReflowError
from reflow_core.numbers import percent
from reflow_core.repairs import Calibration, RepairInfo, Told, repairs
from reflow_core.repairs.estimators import corrected
from reflow_core.repairs.reflow import recalibrate
from reflow_core.ridge import Normal, best_ridge, solved
from reflow_core.signal.copies import Hook, PreHook, clone_module, hooked, shallow_clone, watched
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.predictions import logits_of
from reflow_core.signal.trace import trace
from reflow_core.signal.unfold import output_sides, padded, windows_at
from reflow_core.watch import Watch

POSITIONS = 12  # sampled an image and layer, at least
SAMPLES = 16  # wanted for each input of a filter: where images are few and filters wide, more positions of each image
FITTED = (nn.Conv2d, nn.Linear)
Targets = dict[str, Tensor]


@repairs.register(
    RepairInfo(
        "least-squares",
        "Least squares + REFLOW",
        "Re-fit the surviving weights of each layer to its dense outputs, then re-estimate the norms. The ridge "
        "is chosen layer by layer on held-out calibration images; if the result agrees less with dense than "
        "REFLOW alone, REFLOW is returned. The shortcut correction of He et al. is left out.",
        "Frantar and Alistarh, arXiv 2208.11580; He et al., arXiv 1707.06168",
        needs_data=True,
    )
)
def least_squares(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> Told:
    """Ridge regression of the dense layer's outputs on the inputs of each filter's support, layer by layer.

    For filter c with kept weights S: w_S = (X_Sᵀ X_S + λI)⁻¹ (X_Sᵀ y_c + λ w_S⁰), where w⁰ is what the filter had. X
    and y are centered where something takes up the mean: the layer's own bias, or a BatchNorm right behind it. λ is
    chosen for each layer by the error on a quarter of the images, fitted on a half. On the last quarter what those
    three give is held against REFLOW from the same three (without BatchNorm: against no repair), by agreement with
    dense; the better of the two is then fitted on all. Weights that were fitted to these images before are fitted
    again with the same λ and without that comparison. Everything zero stays zero.
    """
    walk = Walk.of(dense, calibration, watch)
    targets, wanted = calibration.learned.get(dense, lambda: dense_outputs(dense, walk))
    trial = dataclasses.replace(walk, fitted=len(walk.images) - len(walk.images) // 4)
    with torch.inference_mode():
        if calibration.ridges:
            walk.ridges.update(calibration.ridges)
            walk.repaired(pruned, targets)
            return said(pruned, walk, "its weights were fitted to these images before")
        ours = agreement(trial.repaired(clone_module(pruned), targets), wanted, trial.fitted)
        theirs = agreement(trial.repaired(clone_module(pruned), {}), wanted, trial.fitted)
        if not theirs > ours:
            walk.repaired(pruned, targets)
    if theirs > ours and batch_norms(pruned):
        recalibrate(pruned, dataclasses.replace(calibration, statistics="population"), watch)
    return said(pruned, walk, "too few images or no logits", ours, theirs)


def said(pruned: nn.Module, walk: Walk, why_not: str, ours: float = math.nan, theirs: float = math.nan) -> Told:
    """What was changed, and both agreements with dense; `why_not`: why there are none."""
    norms, count = len(batch_norms(pruned)), len(walk.images)
    plain = "REFLOW alone" if norms else "no repair"
    compared = f"not compared with {plain}: {why_not}"
    if theirs == theirs:
        compared = f"agreement with dense on {count // 4} held-out images {percent(ours)} ({plain}: {percent(theirs)})"
    if theirs > ours:
        return Told(f"Kept {plain}, from {count} images, because re-fitted weights do worse: {compared}.")
    skipped = layers(pruned)[1]
    left = f"; unchanged: {', '.join(skipped)}" if skipped else ""
    changed = f"Surviving weights of every convolution and linear layer and the statistics of {norms} BatchNorm layers"
    return Told(f"{changed}, from {count} images{left}; {compared}.", ridges=walk.ridges)


@dataclass(frozen=True, eq=False, slots=True)
class Walk:
    """A walk through a network in forward order that repairs each layer on what the repaired ones before it send.

    `images`: the calibration images (N, C, H, W), shuffled, of which the first `fitted` count. `centered`: the layers
    whose output's mean something takes up. `ridges`: by layer, as far as they are chosen.
    """

    images: Tensor
    seed: int
    centered: frozenset[str]
    watch: Watch
    fitted: int
    ridges: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, dense: nn.Module, calibration: Calibration, watch: Watch) -> Walk:
        """Over all images of a calibration set."""
        count = len(calibration.inputs)
        images = calibration.inputs[torch.randperm(count, generator=torch.Generator().manual_seed(calibration.seed))]
        return cls(images, calibration.seed, centerable(dense, images[:1]), watch, count)

    def repaired(self, network: nn.Module, targets: Targets) -> object:
        """Re-fit each layer with a target (samples, C_out) where it first runs, and each norm; what it says then."""
        norms, share, left = batch_norms(network), self.fitted / len(self.images), dict(targets)
        refits = {name: self._refit(name, left) for name in targets}
        with watched(network, self.watch, "calibrate", len(self.images)), hooked(network, refits):
            return corrected(network, norms, self.images, share)

    def _refit(self, name: str, left: Targets) -> PreHook:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if (target := left.pop(name, None)) is None:
                return
            count = len(self.images)
            half, end = (len(target) * part // count for part in (count // 2, self.fitted))
            read = patches(layer, inputs[0], self.seed)[:, :end]
            known = self.ridges.get(name)
            self.ridges[name] = fit(layer, read, target[:end], name in self.centered, half, known)

        return hook


def centerable(network: nn.Module, example: Tensor) -> frozenset[str]:
    """The layers whose output's mean something takes up: their own bias, or a norm right behind that is set anew."""
    modules = dict(network.named_modules())
    behind = {site.weights for site in trace(network, example).sites if takes_mean(modules[site.name])}
    return frozenset(name for name in layers(network)[0] if name in behind or modules[name].bias is not None)


def takes_mean(module: nn.Module) -> bool:
    """Whether a module subtracts each channel's mean as it arrives: no frozen norm does, nor LayerNorm or GroupNorm."""
    own = isinstance(module, _InstanceNorm) and module.running_mean is None
    return own or isinstance(module, _BatchNorm)


def agreement(output: object, wanted: Tensor | None, start: int) -> float:
    """Share of the images from `start` on, and of their positions, with the class `wanted`; NaN without any."""
    return float("nan") if wanted is None else float((classes(output) == wanted)[start:].double().mean())


def classes(output: object) -> Tensor:
    """The class with the highest logit: (N, C, …) -> (N, …)."""
    return logits_of(output).argmax(1)


def dense_outputs(dense: nn.Module, walk: Walk) -> tuple[Targets, Tensor | None]:
    """Each layer's dense outputs (samples, C_out) where `patches` samples; the classes (N, …) that dense predicts.

    None for the classes where the network returns no logits of several classes.
    """
    reference = shallow_clone(dense)  # other threads use the dense network: it is never hooked itself
    outputs: Targets = {}

    def record(name: str) -> Hook:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if name not in outputs:
                outputs[name] = sampled(layer, output, walk.seed)

        return hook

    records = {name: record(name) for name in layers(reference)[0]}
    count = len(walk.images)
    with watched(reference, walk.watch, "target", count), hooked(reference, after=records), torch.inference_mode():
        output = reference(walk.images)
        try:
            logits = logits_of(output)
        except ReflowError:
            return outputs, None
        return outputs, logits.argmax(1) if logits.ndim > 1 and logits.shape[1] > 1 else None


def layers(network: nn.Module) -> tuple[list[str], list[str]]:
    """The names of the layers that can be fitted, and of the convolutions that cannot."""
    every = {name: module for name, module in network.named_modules() if isinstance(module, (*FITTED, _ConvNd))}
    fitted = [
        name
        for name, module in every.items()
        if isinstance(module, FITTED) and getattr(module, "padding_mode", "zeros") == "zeros"
    ]
    return fitted, [name for name in every if name not in fitted]


def by_group(layer: nn.Module) -> Tensor:
    """A layer's weight as filters (groups, C_out/g, inputs of a filter); a copy in some memory layouts."""
    weight = layer.get_parameter("weight").detach().flatten(1)
    return torch.unflatten(weight, 0, (getattr(layer, "groups", 1), -1))


def patches(layer: nn.Module, arriving: Tensor, seed: int) -> Tensor:
    """What a layer reads at sampled output positions, image by image: (groups, samples, inputs of a filter)."""
    if isinstance(layer, nn.Linear):
        return sampled(layer, arriving, seed)[None]
    assert isinstance(layer, nn.Conv2d)
    image = padded(layer, arriving)
    read = windows_at(layer, image, drawn(layer, len(image), math.prod(output_sides(layer, image)), seed))
    return torch.unflatten(read, 1, (layer.groups, -1)).flatten(2).movedim(1, 0)


def sampled(layer: nn.Module, tensor: Tensor, seed: int) -> Tensor:
    """A layer's output (N, C, …), or its input if it is linear, at those positions: (samples, C)."""
    if isinstance(layer, nn.Linear):
        rows = tensor.flatten(1, -2) if tensor.ndim > 2 else tensor[:, None]
    else:
        rows = tensor.flatten(2).mT
    chosen = drawn(layer, len(rows), rows.shape[1], seed)
    return rows[torch.arange(len(rows))[:, None], chosen].flatten(0, 1)


def drawn(layer: nn.Module, images: int, positions: int, seed: int) -> Tensor:
    """Some of a layer's output positions, drawn without replacement for each image: (images, P)."""
    most = max(POSITIONS, -(-SAMPLES * by_group(layer).shape[2] // images))
    if positions <= most:
        return torch.arange(positions).expand(images, -1)
    return torch.rand(images, positions, generator=torch.Generator().manual_seed(seed)).topk(most).indices


def fit(layer: nn.Module, read: Tensor, target: Tensor, centered: bool, half: int, ridge: float | None = None) -> float:
    """Re-fit one layer in place to `target` (samples, C_out) from `read` (groups, samples, d); gives the ridge.

    The ridge counts samples, so that λ stays as more are fitted. Where none is given it is chosen: what the first
    `half` of the samples give is judged by the others.
    """
    weight, before, after = by_group(layer), read.mean(1, keepdim=True), target.mean(0)
    if centered:
        read, target = read - before, target - after
    parts = [Normal.of(read[:, rows], target[rows]) for rows in (slice(half), slice(half, None))]
    if ridge is None:
        ridge = half * best_ridge(weight, *parts)
    fitted, parameter = solved(weight, parts[0] + parts[1], ridge / read.shape[1]), layer.get_parameter("weight")
    parameter.detach().copy_(fitted.reshape(parameter.shape))
    if layer.bias is not None:
        layer.get_parameter("bias").copy_(after - (before @ by_group(layer).mT).flatten())
    return ridge
