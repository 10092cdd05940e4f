"""Norm rescaling: every filter gets back the length that pruning took from it. No data needed."""

from __future__ import annotations

import torch
from torch import nn

from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.signal.layers import prunable
from reflow_core.watch import Watch


@repairs.register(
    RepairInfo(
        "norm-rescale",
        "Norm rescaling",
        "Scale each filter by ‖w‖/‖w̃‖ to restore its norm; needs no images. A control of this lab: XNOR-Net "
        "also rescales filters, but by the mean of |w|.",
        "compare Rastegari et al., arXiv 1603.05279",
    )
)
def norm_rescale(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """w̃ ← w̃·‖w‖/‖w̃‖ over each output channel's weights; a filter that is all zero stays so."""
    before, after = prunable(dense), prunable(pruned)
    emptied = 0
    for name, weight in after.items():
        old, new = (kept.flatten(1).norm(dim=1) for kept in (before[name], weight))
        alive = new > 0
        emptied += int((~alive).sum())
        scale = torch.where(alive, old / new.clamp_min(torch.finfo(new.dtype).tiny), 1.0)
        weight.mul_(scale.view(-1, *[1] * (weight.ndim - 1)))
    return f"Norm of every filter in {len(after)} layers; {emptied} filters are all zero and stay zero."
