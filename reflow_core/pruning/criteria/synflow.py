"""SynFlow: iterative pruning without data that conserves synaptic flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core.errors import ReflowError
from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.masks import Scores, Weights
from reflow_core.signal.copies import clone_module
from reflow_core.signal.predictions import logits_of

STEPS = 100


@criteria.register(
    CriterionInfo(
        "synflow",
        "SynFlow",
        "Keep the weights that carry most of the flow of an all-ones input through |w|; no data, 100 steps.",
        "Tanaka et al., arXiv 2006.05467",
        per_sparsity=True,
    )
)
def synflow(subject: Subject) -> Weights:
    """Masks after 100 steps of density (1 − s)^(k/100), each keeping the highest θ ⊙ ∂R/∂θ (algorithm 1).

    R = the sum of the outputs for an all-ones input when every weight is |w|, every bias 0 and every BatchNorm only
    its scale |γ|/√(σ²+ε); float64. Raises ReflowError for a network with a norm that has no fixed scale.
    """
    assert subject.limits is not None and subject.example is not None
    flowing = linear(subject.network)
    whole = {name: weight.abs().double() for name, weight in subject.weights.items()}
    ones = torch.ones_like(subject.example, dtype=torch.float64)
    masks: Weights = {}
    for step in range(STEPS):
        subject.watch("scores", step, STEPS)
        scores = flow(flowing, {name: weight * masks.get(name, True) for name, weight in whole.items()}, ones)
        masks = subject.limits.masks(Scores(scores), 1 - (1 - subject.limits.sparsity) ** ((step + 1) / STEPS))
    return masks


def linear(network: nn.Module) -> nn.Module:
    """A private float64 copy in which everything is positive and without offset."""
    clone = clone_module(network).double().eval()
    for name, module in clone.named_modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm):
            raise ReflowError(
                f"synflow needs a fixed scale at every norm; {name} is a {type(module).__name__}, which divides by "
                "whatever arrives, so no flow is conserved. Choose another criterion."
            )
        if isinstance(module, _BatchNorm):
            assert module.running_mean is not None
            module.running_mean.zero_()
        for offset, parameter in module.named_parameters(recurse=False):
            parameter.requires_grad_(False)
            parameter.zero_() if offset == "bias" else parameter.abs_()
    return clone


def flow(network: nn.Module, weights: Weights, ones: Tensor) -> dict[str, Tensor]:
    """θ ⊙ ∂R/∂θ for the layers in `weights`, which replace the network's own."""
    values = {f"{name}.weight": weight.detach().requires_grad_() for name, weight in weights.items()}
    logits = logits_of(torch.func.functional_call(network, values, (ones,)))
    gradients = torch.autograd.grad(logits.sum(), list(values.values()))
    return {
        name: gradient * value.detach()
        for name, gradient, value in zip(weights, gradients, values.values(), strict=True)
    }
