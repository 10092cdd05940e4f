"""REFLOW: re-estimate the BatchNorm statistics of a pruned network (arXiv 2502.15790).

The recalibration itself is known elsewhere as BN tuning or adaptive BN (e.g. EagleEye, arXiv 2007.02491).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core.calibration import Calibration
from reflow_core.moments import Moments, channel_moments
from reflow_core.private import PreHook, hooked, watched
from reflow_core.registry import Info
from reflow_core.repairs import NotApplicable, repairs
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
    )
)
def reflow(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """Set each BatchNorm's running mean and variance (C,) to what the pruned network sends it.

    `statistics` of the calibration: "population", "pooled", "batch_mean" or "ema" (see the functions below).
    Parameters stay bit for bit; only norm buffers change. Raises NotApplicable without BatchNorm.
    """
    norms = batch_norms(pruned)
    if not norms:
        raise NotApplicable(
            "REFLOW re-estimates BatchNorm statistics, and this network has no BatchNorm: its other norms compute "
            "their statistics afresh for every image, so there is nothing stale to correct."
        )
    count = len(calibration.inputs)
    passes = 1 if calibration.statistics == "population" else -(-count // calibration.batch)
    with watched(pruned, watch, "calibrate", count, passes), torch.inference_mode():
        ESTIMATORS[calibration.statistics](pruned, norms, calibration)
    return f"Running mean and variance of {len(norms)} BatchNorm layers, from {count} images."


def batch_norms(network: nn.Module) -> Norms:
    """All BatchNorm layers that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def population(network: nn.Module, norms: Norms, calibration: Calibration) -> None:
    """Moments of the *whole* calibration set at each norm, all norms before it already corrected.

    One batch over the whole set, in which each norm first takes the moments of what arrives and then normalises with
    them. The variance is the population's (divided by N·H·W).
    """

    def take(norm: nn.Module, arriving: tuple[Tensor, ...]) -> None:
        found = channel_moments(arriving[0])
        norm.get_buffer("running_mean").copy_(found.mean)
        norm.get_buffer("running_var").copy_(found.variance)

    with hooked(network, dict.fromkeys(norms, take)):
        network(calibration.inputs)


def pooled(network: nn.Module, norms: Norms, calibration: Calibration) -> None:
    """Train-mode batches, their moments merged by Chan's rule in float64: within-batch normalisation, pooled stats."""
    merged = {name: Moments.empty(norm.num_features) for name, norm in norms.items()}

    def reader(name: str) -> PreHook:
        def read(norm: nn.Module, arriving: tuple[Tensor, ...]) -> None:
            merged[name] = merged[name].merge(channel_moments(arriving[0]))

        return read

    with hooked(network, {name: reader(name) for name in norms}), _training(norms, momentum=0.0):
        _pass(network, calibration)
    for name, norm in norms.items():
        if merged[name].count:
            norm.get_buffer("running_mean").copy_(merged[name].mean)
            norm.get_buffer("running_var").copy_(merged[name].variance)


def batch_mean(network: nn.Module, norms: Norms, calibration: Calibration) -> None:
    """Plain average of the batches' moments, as torch.optim.swa_utils.update_bn (unbiased variance in each batch)."""
    with _training(norms, momentum=None):
        for norm in norms.values():
            norm.reset_running_stats()
        _pass(network, calibration)


def ema(network: nn.Module, norms: Norms, calibration: Calibration) -> None:
    """Exponential moving average (momentum 0.1) that starts from the stale statistics, as further training would."""
    with _training(norms, momentum=EMA_MOMENTUM):
        _pass(network, calibration)


ESTIMATORS: dict[str, Callable[[nn.Module, Norms, Calibration], None]] = {
    "population": population,
    "pooled": pooled,
    "batch_mean": batch_mean,
    "ema": ema,
}


def _pass(network: nn.Module, calibration: Calibration) -> None:
    for batch in calibration.inputs.split(calibration.batch):
        network(batch)


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
