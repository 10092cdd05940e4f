"""How REFLOW estimates the moments that reach each BatchNorm: four ways, each setting them in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from reflow_core.batches import at_once
from reflow_core.errors import unknown
from reflow_core.machine import fitting, out_of_memory
from reflow_core.repairs import Calibration
from reflow_core.repairs.lockstep import OutOfStep, in_step, store
from reflow_core.signal.copies import PreHook, device_of, hooked, watched
from reflow_core.signal.layers import BatchNorms
from reflow_core.signal.moments import Moments, channel_moments
from reflow_core.watch import Watch

EMA_MOMENTUM = 0.1


def estimate(network: nn.Module, norms: BatchNorms, calibration: Calibration, watch: Watch) -> str:
    """Set each norm's running mean and variance (C,) to what the network sends it; says how, where that is unusual.

    Parameters stay bit for bit, and every mode, momentum and counter is put back. Raises ReflowError for unknown
    `statistics`.
    """
    if calibration.statistics not in ESTIMATORS:
        raise unknown("statistics", calibration.statistics, ESTIMATORS)
    with torch.inference_mode():
        return ESTIMATORS[calibration.statistics](network, norms, calibration, watch)


def population(network: nn.Module, norms: BatchNorms, calibration: Calibration, watch: Watch) -> str:
    """Moments of the *whole* calibration set at each norm, all norms before it already corrected.

    In one batch, of large images in blocks; where memory runs out, norm by norm. All three give the same.
    """
    inputs = calibration.inputs
    blocks = inputs.split(at_once(inputs, device_of(network), len(inputs)))
    try:
        if len(blocks) > 1:
            with suppress(OutOfStep):
                in_step(network, norms, blocks, watch)
                return ""
        with watched(network, watch, "calibrate", len(inputs)):
            corrected(network, norms, inputs)
            return ""
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    with watched(network, watch, "calibrate", len(inputs)):
        return norm_by_norm(network, norms, calibration)


def corrected(network: nn.Module, norms: BatchNorms, inputs: Tensor, share: float = 1) -> object:
    """What a network puts out for inputs (N, …), each norm corrected by the first `share` of what arrives at it.

    A norm first takes its moments (the variance is the population's, divided by N·H·W), then normalizes with them.
    """

    def take(norm: nn.Module, arriving: tuple[Tensor, ...]) -> None:
        store(norm, channel_moments(arriving[0][: round(share * len(arriving[0]))]))

    with hooked(network, dict.fromkeys(norms, take)):
        return network(inputs.to(device_of(network)))


def norm_by_norm(network: nn.Module, norms: BatchNorms, calibration: Calibration) -> str:
    """For each norm in the order of execution a pass up to it, in batches that fit; halved wherever they do not.

    Raises torch's own error where not one image fits.
    """
    inputs = calibration.inputs
    size = max(1, min(len(inputs) // 2, at_once(inputs, device_of(network))))
    for name in in_order(network, norms, inputs[:1]):
        moments, size = fitting(lambda batch, name=name: arriving_at(network, name, inputs.split(batch)), size)  # type: ignore[misc]
        store(norms[name], moments)
    return f", norm by norm in batches of {size} (low on memory)"


def in_order(network: nn.Module, norms: BatchNorms, example: Tensor) -> list[str]:
    """The norms that are called, in the order of execution."""
    order: list[str] = []
    with hooked(network, {name: lambda norm, arriving, name=name: order.append(name) for name in norms}):  # type: ignore[misc]
        network(example.to(device_of(network)))
    return list(dict.fromkeys(order))


class _Reached(Exception):
    """Ends a pass at the norm whose input was wanted."""


def arriving_at(network: nn.Module, name: str, batches: tuple[Tensor, ...]) -> Moments:
    """The moments of all that arrives at one norm; each pass ends there."""
    parts: list[Moments] = []

    def read(norm: nn.Module, arriving: tuple[Tensor, ...]) -> None:
        parts.append(channel_moments(arriving[0]))
        raise _Reached

    with hooked(network, {name: read}):
        for batch in batches:
            with suppress(_Reached):
                network(batch.to(device_of(network)))
    return functools.reduce(Moments.merge, parts)


def pooled(network: nn.Module, norms: BatchNorms, calibration: Calibration, watch: Watch) -> str:
    """Train-mode batches, their moments merged by Chan's rule in float64: within-batch normalization, pooled stats."""
    with arriving(network, norms) as merged, _training(norms, momentum=0.0):
        _pass(network, calibration, watch)
    for name, norm in norms.items():
        if merged[name].count:
            store(norm, merged[name])
    return ""


@contextmanager
def arriving(network: nn.Module, norms: BatchNorms) -> Iterator[dict[str, Moments]]:
    """The moments (C,) of what reaches each norm by name, merged over all passes of the body."""
    merged = {name: Moments.empty(norm.num_features) for name, norm in norms.items()}

    def reader(name: str) -> PreHook:
        def read(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            merged[name] = merged[name].merge(channel_moments(arguments[0]))

        return read

    with hooked(network, {name: reader(name) for name in norms}):
        yield merged


def batch_mean(network: nn.Module, norms: BatchNorms, calibration: Calibration, watch: Watch) -> str:
    """Plain average of the batches' moments, as torch.optim.swa_utils.update_bn (unbiased variance in each batch)."""
    with _training(norms, momentum=None):
        for norm in norms.values():
            norm.reset_running_stats()
        _pass(network, calibration, watch)
    return ""


def ema(network: nn.Module, norms: BatchNorms, calibration: Calibration, watch: Watch) -> str:
    """Exponential moving average (momentum 0.1) that starts from the stale statistics, as further training would."""
    with _training(norms, momentum=EMA_MOMENTUM):
        _pass(network, calibration, watch)
    return ""


ESTIMATORS: dict[str, Callable[[nn.Module, BatchNorms, Calibration, Watch], str]] = {
    "population": population,
    "pooled": pooled,
    "batch_mean": batch_mean,
    "ema": ema,
}


def _pass(network: nn.Module, calibration: Calibration, watch: Watch) -> None:
    with watched(network, watch, "calibrate", len(calibration.inputs), calibration.batch_count):
        for batch in calibration.batches():
            network(batch.to(device_of(network)))


@contextmanager
def _training(norms: BatchNorms, momentum: float | None) -> Iterator[None]:
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
