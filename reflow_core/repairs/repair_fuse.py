"""REPAIR for pruned networks without BatchNorm: insert a norm behind each layer, set it, fold it back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.repairs.matching import match
from reflow_core.signal.layers import PRUNABLE, prunable
from reflow_core.watch import Watch

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@repairs.register(
    RepairInfo(
        "repair-fuse",
        "REPAIR, fused",
        "For networks without BatchNorm: rescale each layer to dense's output mean and standard deviation.",
        "Jordan et al., arXiv 2211.08403",
        needs_data=True,
    )
)
def repair_fuse(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """w ← a·w per output channel, bias ← a·bias + b: a BatchNorm with γ = σ_dense, β = μ_dense, fused.

    Its own statistics are the pruned network's; the mask is unchanged. Raises NotApplicable where there is BatchNorm.
    """
    if any(isinstance(module, _BatchNorm) for module in pruned.modules()):
        raise NotApplicable("This network already has BatchNorm; REFLOW re-estimates it without changing a weight.")
    modules = dict(pruned.named_modules())
    names = [name for name in prunable(pruned) if not isinstance(modules[name], TRANSPOSED)]
    for name in names:
        if modules[name].bias is None:
            modules[name].register_parameter("bias", nn.Parameter(torch.zeros(modules[name].weight.shape[0])))
    match(dense, pruned, names, calibration, fold_into_weights, watch)
    return f"Weights' scale and bias of {len(names)} layers, from {len(calibration.inputs)} images."


def fold_into_weights(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Output channel c of a convolution or linear layer becomes scale[c]·y + shift[c]."""
    assert isinstance(layer, PRUNABLE)
    with torch.no_grad():
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        weight.mul_(scale.to(weight).view(-1, *[1] * (weight.ndim - 1)))
        bias.copy_(scale * bias + shift)
