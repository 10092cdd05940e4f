"""Which layers the lab prunes and measures, told by their classes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

PRUNABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _InstanceNorm)
FROZEN = "FrozenBatchNorm"  # torchvision's and timm's begin with it; they are no subclasses of BatchNorm
BatchNorms = dict[str, _BatchNorm]


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm that can be measured."""
    return isinstance(module, NORMS) or is_frozen(module)


def is_frozen(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm whose statistics are fixed by its class."""
    return type(module).__name__.startswith(FROZEN)


def has_affine(norm: nn.Module) -> bool:
    """Whether a norm has a scale and a shift for each channel."""
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    return weight is not None and bias is not None and weight.ndim == 1


def prunable(network: nn.Module) -> dict[str, Tensor]:
    """The weights of all convolutions and linear layers by module name, in registration order."""
    return {name: module.weight.detach() for name, module in network.named_modules() if isinstance(module, PRUNABLE)}


def batch_norms(network: nn.Module) -> BatchNorms:
    """All BatchNorm layers that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
