"""Bias correction: every layer's output gets back the dense network's mean, and nothing else changes."""

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
        "bias",
        "Bias correction",
        "Match each layer's output mean to the dense network's; the standard deviation is unchanged.",
        "Nagel et al., arXiv 1906.04721, section 4.2",
        needs_data=True,
    )
)
def bias(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """β ← β + μ_dense − μ_pruned at each norm, or at each convolution and linear layer with a bias.

    Raises NotApplicable where no layer has a shift to correct.
    """
    modules = dict(pruned.named_modules())
    names = [name for name, module in modules.items() if isinstance(module, NORMS) and has_affine(module)]
    names = names or [name for name, module in modules.items() if isinstance(getattr(module, "bias", None), Tensor)]
    if not names:
        raise NotApplicable("Bias correction needs layers with a bias, and this network has none.")
    match(dense, pruned, names, calibration, shift_only, watch, match_std=False)
    return f"Shift of {len(names)} layers, from {len(calibration.inputs)} images."


def shift_only(module: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """β ← β + shift (C,); the scale is 1."""
    with torch.no_grad():
        module.get_parameter("bias").add_(shift)
