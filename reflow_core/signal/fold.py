"""A network that is quick to evaluate: each BatchNorm folded into the layer whose output it alone reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from reflow_core.signal.copies import device_of, shallow_clone
from reflow_core.signal.layers import PRUNABLE
from reflow_core.signal.predictions import logits_of
from reflow_core.signal.trace import Site

ALIKE = 1e-3  # of the largest logit: rounding stays far below, a wrong reader of an unscaled output far above
Folds = Mapping[str, str]


class Folded(nn.Identity):
    """Where a BatchNorm stood; its output is the layer's now. `scale` (C,): what the layer took over. `eps`: its ε."""

    def __init__(self, scale: Tensor, eps: float) -> None:
        super().__init__()
        self.scale, self.eps = scale, eps


def foldable(network: nn.Module, sites: Iterable[Site], example: Tensor) -> Folds:
    """The BatchNorms that can be folded, each with its layer by name; none unless the logits of `example` stay alike.

    They differ where something else reads the layer's output too, which no hook tells.
    """
    folds = {site.name: site.weights for site in sites if site.weights and _fits(network, site.name, site.weights)}
    if not folds:
        return {}
    with torch.inference_mode():
        example = example.to(device_of(network))
        plain, quick = (logits_of(each(example)) for each in (network, folded(network, folds)))
    return folds if bool(((plain - quick).abs() <= ALIKE * plain.abs().amax()).all()) else {}


def _fits(network: nn.Module, norm: str, layer: str) -> bool:
    """Whether both are what torch calls them, in eval mode: subclasses may do more, hooks may change what passes."""
    after, before = network.get_submodule(norm), network.get_submodule(layer)
    fixed = isinstance(after, _BatchNorm) and type(after).forward is _BatchNorm.forward and not after.training
    plain = "weight" in before._parameters and not (before._forward_hooks or before._forward_pre_hooks)
    linear = isinstance(before, PRUNABLE) and not isinstance(before, _ConvTransposeNd)
    return fixed and plain and linear and after.running_mean is not None


def folded(network: nn.Module, folds: Folds) -> nn.Module:
    """A copy that shares all other tensors with `network`, which one thread may hook and read.

    A norm with a scale of 0 is left as it is, for nothing would tell what arrived at it.
    """
    copy = shallow_clone(network)
    for norm, layer in folds.items():
        replaced, folding = cast(_BatchNorm, copy.get_submodule(norm)), copy.get_submodule(layer)
        scale, shift = affine(replaced, 0)
        if not scale.all():
            continue
        weight, bias = folding.get_parameter("weight"), folding._parameters["bias"]
        own = weight.new_tensor(0.0) if bias is None else bias
        wide = scale.view(-1, *[1] * (weight.ndim - 1))
        folding.weight = nn.Parameter(weight.detach() * wide.to(weight), requires_grad=False)
        folding.bias = nn.Parameter((own.detach().cpu().double() * scale + shift).to(weight), requires_grad=False)
        copy.set_submodule(norm, Folded(scale, replaced.eps))
    return copy


def affine(norm: nn.Module, width: int) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) in float64 from what is read to what leaves: of a BatchNorm γ/√(σ²+ε) and β − μ·scale."""
    if not (isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None):
        return torch.ones(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    scale = (norm.running_var.cpu().double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.detach().cpu().double()
    shift = -norm.running_mean.cpu().double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach().cpu().double()
