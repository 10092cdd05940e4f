"""Statistics correction: every norm's output gets back the dense network's mean and standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.repairs.matching import match
from reflow_core.signal.layers import NORMS, has_affine
from reflow_core.watch import Watch


@repairs.register(
    RepairInfo(
        "statcorr",
        "Statistics correction",
        "Match each norm's output mean and standard deviation to the dense network's, folded into its scale and shift.",
        "Frantar and Alistarh, arXiv 2208.11580, section 6",
        needs_data=True,
    )
)
def statcorr(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """γ ← a·γ, β ← a·β + b per channel (see `match`). BatchNorm, LayerNorm and GroupNorm with scale and shift.

    Raises NotApplicable without such norms.
    """
    names = [name for name, module in pruned.named_modules() if isinstance(module, NORMS) and has_affine(module)]
    if not names:
        raise NotApplicable("Statistics correction needs norms with scale and shift, and this network has none.")
    match(dense, pruned, names, calibration, fold_into_norm, watch)
    return f"Scale and shift of {len(names)} norms, from {len(calibration.inputs)} images."


def fold_into_norm(norm: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """γ ← scale·γ, β ← scale·β + shift, each (C,)."""
    with torch.no_grad():
        weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
        weight.copy_(scale * weight)
        bias.copy_(scale * bias + shift)
