"""REFLOW: re-estimate the BatchNorm statistics of a pruned network (arXiv 2502.15790).

The recalibration itself is known elsewhere as BN tuning or adaptive BN (e.g. EagleEye, arXiv 2007.02491).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from reflow_core.batches import Batches
from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.repairs.estimators import estimate
from reflow_core.signal.copies import evaluating
from reflow_core.signal.layers import BatchNorms, batch_norms, is_frozen
from reflow_core.watch import Watch, ignore


@dataclass(frozen=True, slots=True)
class NormChange:
    """What REFLOW changed in one BatchNorm: medians over its channels.

    `std_ratio`: new stored standard deviation over the old one. `mean_shift`: |new − old| stored mean, in old standard
    deviations.
    """

    name: str
    channels: int
    std_ratio: float
    mean_shift: float


@dataclass(frozen=True, slots=True)
class ReflowReport:
    """What REFLOW changed: one sentence, and norm by norm in registration order."""

    summary: str
    norms: tuple[NormChange, ...]


def reflow(model: nn.Module, batches: Batches, statistics: str = "population", watch: Watch = ignore) -> ReflowReport:
    """Re-estimate every BatchNorm's running mean and variance on calibration images, in place; no weight is touched.

    Args:
        model: A network of any kind, on any device, in any mode; modes and gradient flags are as before afterwards.
        batches: Calibration images as training saw them, augmented and normalized: tensors (N, C, H, W),
            (images, labels), or dicts with `pixel_values`. They are read once and kept in memory; 128 images already
            give all but a point or two.
        statistics: "population": moments of the whole set at each norm, all norms before it already corrected (exact).
            "pooled": of train-mode batches, merged by Chan's rule. "batch_mean": their plain average, as
            `torch.optim.swa_utils.update_bn`. "ema": momentum 0.1, from the stale statistics on.
        watch: Called at every layer and batch; may raise `Cancelled`.

    Returns:
        What was changed, norm by norm.

    Raises:
        NotApplicable: Without a BatchNorm that keeps running statistics, or where all of them are frozen.
        ReflowError: For unknown `statistics`, and where `batches` hold no images.

    Source: arXiv 2502.15790; known before as BN tuning or adaptive BN (arXiv 2007.02491).

    Example:
        >>> import torch, reflow_core as rc
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> report = rc.reflow(model, [torch.randn(16, 3, 8, 8) for _ in range(4)])
        >>> report.summary
        'Running mean and variance of 1 BatchNorm layers, from 64 images.'
        >>> report.norms[0].name, report.norms[0].channels
        ('1', 8)
    """
    norms = batch_norms(model)
    before = {name: _stored(norms, name) for name in norms}
    with evaluating(model):
        summary = recalibrate(model, Calibration.of(batches, statistics), watch)
    changes = (_change(name, before[name], _stored(norms, name)) for name in norms)
    return ReflowReport(summary, tuple(changes))


@repairs.register(
    RepairInfo(
        "reflow",
        "REFLOW",
        "Re-estimate the BatchNorm statistics on calibration images; no weight changes.",
        "arXiv 2502.15790",
        needs_data=True,
        reads=("statistics", "calibration_batch"),
        on_device=True,
        any_width=True,
    )
)
def _repair(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    return recalibrate(pruned, calibration, watch)


def recalibrate(network: nn.Module, calibration: Calibration, watch: Watch = ignore) -> str:
    """Set each BatchNorm's running mean and variance (C,) to what the network, in eval mode, sends it.

    Parameters stay bit for bit; only norm buffers change. Returns what was done, in a sentence. Raises NotApplicable
    without BatchNorm.
    """
    norms = batch_norms(network)
    if not norms and (frozen := sum(map(is_frozen, network.modules()))):
        raise NotApplicable(
            f"All {frozen} BatchNorm layers of this network are frozen: their class fixes the statistics. "
            "Replace them with torch.nn.BatchNorm2d holding the same values, and REFLOW can re-estimate them."
        )
    if not norms:
        raise NotApplicable(
            "REFLOW re-estimates BatchNorm statistics, and this network has no BatchNorm: its other norms "
            "compute their statistics for every image, so there is nothing stale to correct."
        )
    unusual = estimate(network, norms, calibration, watch)
    return (
        f"Running mean and variance of {len(norms)} BatchNorm layers, from {len(calibration.inputs)} images{unusual}."
    )


def _stored(norms: BatchNorms, name: str) -> tuple[Tensor, Tensor]:
    """A norm's stored mean and standard deviation (C,) in float64, on the CPU."""
    mean, variance = (norms[name].get_buffer(f"running_{what}").cpu().double().clone() for what in ("mean", "var"))
    return mean, (variance + norms[name].eps).sqrt()


def _change(name: str, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> NormChange:
    (old_mean, old_std), (new_mean, new_std) = before, after
    shift = ((new_mean - old_mean).abs() / old_std).median()
    return NormChange(name, len(old_mean), float((new_std / old_std).median()), float(shift))
