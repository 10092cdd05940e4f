"""REFLOW: re-estimate the BatchNorm statistics of a pruned network (arXiv 2502.15790).

The recalibration itself is known elsewhere as BN tuning or adaptive BN (e.g. EagleEye, arXiv 2007.02491).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core.diagnosis.calibration import Calibration
from reflow_core.machine import fitting, out_of_memory
from reflow_core.networks.info import is_frozen
from reflow_core.registry import Info
from reflow_core.repairs import NotApplicable, repairs
from reflow_core.signal.copies import PreHook, device_of, hooked, watched
from reflow_core.signal.moments import Moments, channel_moments
from reflow_core.watch import Watch

EMA_MOMENTUM = 0.1
Norms = dict[str, _BatchNorm]


@repairs.register(
    Info(
        "reflow",
        "REFLOW",
        "Re-estimate the BatchNorm statistics on calibration images; no weight is touched.",
        "arXiv 2502.15790",
        needs_data=True,
        reads=("statistics", "calibration_batch"),
        on_device=True,
        any_width=True,
    )
)
def reflow(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """Set each BatchNorm's running mean and variance (C,) to what the pruned network sends it.

    `statistics` of the calibration: "population", "pooled", "batch_mean" or "ema" (see the functions below).
    Parameters stay bit for bit; only norm buffers change. Raises NotApplicable without BatchNorm.
    """
    norms = batch_norms(pruned)
    frozen = sum(map(is_frozen, pruned.modules()))
    if not norms and frozen:
        raise NotApplicable(
            f"All {frozen} BatchNorm layers of this network are frozen: their class fixes the statistics. Replace them "
            "by torch.nn.BatchNorm2d with the same numbers, and REFLOW can re-estimate them."
        )
    if not norms:
        raise NotApplicable(
            "REFLOW re-estimates BatchNorm statistics, and this network has no BatchNorm: its other norms compute "
            "their statistics afresh for every image, so there is nothing stale to correct."
        )
    count = len(calibration.inputs)
    passes = 1 if calibration.statistics == "population" else -(-count // calibration.batch)
    with watched(pruned, watch, "calibrate", count, passes), torch.inference_mode():
        told = ESTIMATORS[calibration.statistics](pruned, norms, calibration)
    return f"Running mean and variance of {len(norms)} BatchNorm layers, from {count} images{told}."


def batch_norms(network: nn.Module) -> Norms:
    """All BatchNorm layers that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def population(network: nn.Module, norms: Norms, calibration: Calibration) -> str:
    """Moments of the *whole* calibration set at each norm, all norms before it already corrected.

    In one batch; where that does not fit into memory, norm by norm in smaller ones, which gives the same.
    """
    try:
        return in_one_batch(network, norms, calibration)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    return norm_by_norm(network, norms, calibration)


def in_one_batch(network: nn.Module, norms: Norms, calibration: Calibration) -> str:
    """Each norm first takes the moments of what arrives and then normalises with them.

    The variance is the population's (divided by N·H·W).
    """

    def take(norm: nn.Module, arriving: tuple[Tensor, ...]) -> None:
        store(norm, channel_moments(arriving[0]))

    with hooked(network, dict.fromkeys(norms, take)):
        network(calibration.inputs.to(device_of(network)))
    return ""


def norm_by_norm(network: nn.Module, norms: Norms, calibration: Calibration) -> str:
    """For each norm in the order of execution a pass up to it, in batches that fit; halved wherever they do not.

    Raises torch's own error where not one image fits.
    """
    inputs = calibration.inputs
    size = max(1, len(inputs) // 2)
    for name in in_order(network, norms, inputs[:1]):
        moments, size = fitting(lambda batch, name=name: arriving_at(network, name, inputs.split(batch)), size)  # type: ignore[misc]
        store(norms[name], moments)
    return f", norm by norm in batches of {size}, for memory was short"


def in_order(network: nn.Module, norms: Norms, example: Tensor) -> list[str]:
    """The norms that are called, in the order of execution."""
    order: list[str] = []
    with hooked(network, {name: lambda norm, arriving, name=name: order.append(name) for name in norms}):  # type: ignore[misc]
        network(example.to(device_of(network)))
    return list(dict.fromkeys(order))


class _Reached(Exception):
    """Ends a pass at the norm whose input was wanted."""


def arriving_at(network: nn.Module, name: str, batches: tuple[Tensor, ...]) -> Moments:
    """The moments of all that arrives at one norm; each pass ends there."""
    found: list[Moments] = []

    def read(norm: nn.Module, arriving: tuple[Tensor, ...]) -> None:
        found.append(channel_moments(arriving[0]))
        raise _Reached

    with hooked(network, {name: read}):
        for batch in batches:
            with suppress(_Reached):
                network(batch.to(device_of(network)))
    return functools.reduce(Moments.merge, found)


def store(norm: nn.Module, found: Moments) -> None:
    """Make a norm normalise with these moments."""
    norm.get_buffer("running_mean").copy_(found.mean)
    norm.get_buffer("running_var").copy_(found.variance)


def pooled(network: nn.Module, norms: Norms, calibration: Calibration) -> str:
    """Train-mode batches, their moments merged by Chan's rule in float64: within-batch normalisation, pooled stats."""
    with arriving(network, norms) as merged, _training(norms, momentum=0.0):
        _pass(network, calibration)
    for name, norm in norms.items():
        if merged[name].count:
            store(norm, merged[name])
    return ""


@contextmanager
def arriving(network: nn.Module, norms: Norms) -> Iterator[dict[str, Moments]]:
    """The moments (C,) of what reaches each norm by name, merged over all passes of the body."""
    merged = {name: Moments.empty(norm.num_features) for name, norm in norms.items()}

    def reader(name: str) -> PreHook:
        def read(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            merged[name] = merged[name].merge(channel_moments(arguments[0]))

        return read

    with hooked(network, {name: reader(name) for name in norms}):
        yield merged


def batch_mean(network: nn.Module, norms: Norms, calibration: Calibration) -> str:
    """Plain average of the batches' moments, as torch.optim.swa_utils.update_bn (unbiased variance in each batch)."""
    with _training(norms, momentum=None):
        for norm in norms.values():
            norm.reset_running_stats()
        _pass(network, calibration)
    return ""


def ema(network: nn.Module, norms: Norms, calibration: Calibration) -> str:
    """Exponential moving average (momentum 0.1) that starts from the stale statistics, as further training would."""
    with _training(norms, momentum=EMA_MOMENTUM):
        _pass(network, calibration)
    return ""


ESTIMATORS: dict[str, Callable[[nn.Module, Norms, Calibration], str]] = {
    "population": population,
    "pooled": pooled,
    "batch_mean": batch_mean,
    "ema": ema,
}


def _pass(network: nn.Module, calibration: Calibration) -> None:
    for batch in calibration.inputs.split(calibration.batch):
        network(batch.to(device_of(network)))


@contextmanager
def _training(norms: Norms, momentum: float | None) -> Iterator[None]:
    """Only the norms leave eval mode; mode, momentum and counter are put back whatever happens."""
    before = {name: (norm.training, norm.momentum, norm.num_batches_tracked) for name, norm in norms.items()}
    try:
        for norm in norms.values():
            norm.momentum = momentum
            norm.train()
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked = norm.num_batches_tracked.clone()
        yield
    finally:
        for name, norm in norms.items():
            training, norm.momentum, norm.num_batches_tracked = before[name]
            norm.train(training)
