"""What several repairs share: bring the outputs of layers back to the dense network's mean and standard deviation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reflow_core.repairs import Calibration
from reflow_core.signal.copies import Hook, hooked, shallow_clone, watched
from reflow_core.signal.layer_statistics import DEAD_VARIANCE
from reflow_core.signal.moments import Moments, channel_dimension, channel_moments, channels_second
from reflow_core.watch import Watch

Fold = Callable[[nn.Module, Tensor, Tensor], None]


def match(
    dense: nn.Module,
    pruned: nn.Module,
    names: list[str],
    calibration: Calibration,
    fold: Fold,
    watch: Watch,
    match_std: bool = True,
) -> None:
    """Walk the pruned network once in forward order; behind each named layer restore dense's mean and std.

    y' = a·y + b per channel, with a = σ_dense/σ_pruned (1 where the pruned channel is dead, or without `match_std`)
    and b = μ_dense − a·μ_pruned; `fold(layer, a, b)` puts it into the layer. Each layer is measured on what
    the layers before it, already repaired, send it.
    """
    with torch.inference_mode():
        targets: dict[str, Moments] = {}
        reference = shallow_clone(dense)  # other threads use the dense network: it is never hooked itself
        count, record = len(calibration.inputs), {name: _record(name, targets) for name in names}
        with watched(reference, watch, "target", count), hooked(reference, after=record):
            reference(calibration.inputs)
        restore = {name: _restore(targets, name, fold, match_std) for name in names}
        with watched(pruned, watch, "calibrate", count), hooked(pruned, after=restore):
            pruned(calibration.inputs)


def _record(name: str, targets: dict[str, Moments]) -> Hook:
    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        targets[name] = channel_moments(channels_second(module, output))

    return record


def _restore(targets: dict[str, Moments], name: str, fold: Fold, match_std: bool) -> Hook:
    def restore(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        target, arriving = targets[name], channel_moments(channels_second(module, output))
        alive = (arriving.variance > DEAD_VARIANCE) & match_std
        scale = torch.where(alive, (target.variance / arriving.variance.clamp_min(DEAD_VARIANCE)).sqrt(), 1.0)
        shift = target.mean - scale * arriving.mean
        fold(module, scale, shift)
        shape = _shape(module, output)
        return output * scale.to(output).view(shape) + shift.to(output).view(shape)

    return restore


def _shape(module: nn.Module, output: Tensor) -> list[int]:
    shape = [1] * output.ndim
    shape[channel_dimension(module, output)] = -1
    return shape
