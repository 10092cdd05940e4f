"""SynFlow: iterative pruning without data that conserves synaptic flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reflow_core.errors import ReflowError
from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.masks import Scores, Weights
from reflow_core.signal.copies import clone_module
from reflow_core.signal.layers import is_norm
from reflow_core.signal.predictions import logits_of

STEPS = 100
SMALL = 2.0**-400  # of the input: far inside the linear range of every activation, far above the smallest float64


@criteria.register(
    CriterionInfo(
        "synflow",
        "SynFlow",
        "Keep the weights that carry most of the flow of an all-ones input through |w|; no data, 100 steps. Ours "
        "uses BatchNorm's scale at its stored variance and linearizes activations at 0 (SiLU as x/2).",
        "Tanaka et al., arXiv 2006.05467",
        per_sparsity=True,
    )
)
def synflow(subject: Subject) -> Weights:
    """Masks after 100 steps of density (1 − s)^(k/100), each keeping the highest θ ⊙ ∂R/∂θ (algorithm 1).

    R = the sum of the outputs for an all-ones input when every weight is |w|, every bias 0 and every BatchNorm only
    its scale |γ|/√(σ²+ε); float64. The paper's networks have ReLU, which passes such a flow unchanged; here the input
    is SMALL and the scores are scaled back, so that activations act as their slope at 0 and none saturates. Raises
    ReflowError for a norm that has no fixed scale, and for an activation that is not 0 at 0.
    """
    assert subject.limits is not None and subject.example is not None
    flowing = linear(subject.network)
    refuse_offsets(flowing, subject.example)
    whole = {name: weight.abs().double() for name, weight in subject.weights.items()}
    ones = torch.ones_like(subject.example, dtype=torch.float64)
    masks: Weights = {}
    for step in range(STEPS):
        subject.watch("scores", step, STEPS)
        scores = flow(flowing, {name: weight * masks.get(name, True) for name, weight in whole.items()}, ones)
        masks = subject.limits.masks(Scores(scores), 1 - (1 - subject.limits.sparsity) ** ((step + 1) / STEPS))
    return masks


def linear(network: nn.Module) -> nn.Module:
    """A private float64 copy in which everything is positive and without offset. Raises ReflowError for other norms."""
    clone = clone_module(network).double().eval()
    for name, module in clone.named_modules():
        if is_norm(module) and getattr(module, "running_mean", None) is None:
            raise ReflowError(
                f"synflow needs a fixed scale at every norm; {name} is a {type(module).__name__}, which "
                "normalizes by its input, so no flow is conserved. Choose another criterion."
            )
        held = dict(module.named_parameters(recurse=False))
        if is_norm(module):
            held |= dict(module.named_buffers(recurse=False))
        for kind, tensor in held.items():
            tensor.requires_grad_(False)
            tensor.zero_() if kind in ("bias", "running_mean") else tensor.abs_()
    return clone


def refuse_offsets(flowing: nn.Module, example: Tensor) -> None:
    """Raises ReflowError where something leaves the network although nothing enters: a constant drowns the flow."""
    with torch.no_grad():
        constant = float(logits_of(flowing(torch.zeros_like(example, dtype=torch.float64))).sum())
    if constant != 0:
        raise ReflowError(
            f"synflow needs activations that are 0 at 0; this network outputs {constant:.3g} for a zero input, as "
            "sigmoid or softplus do, so not all flow is the input's. Choose another criterion."
        )


def flow(network: nn.Module, weights: Weights, ones: Tensor) -> dict[str, Tensor]:
    """θ ⊙ ∂R/∂θ for the layers in `weights`, which replace the network's own."""
    values = {f"{name}.weight": weight.detach().requires_grad_() for name, weight in weights.items()}
    logits = logits_of(torch.func.functional_call(network, values, (ones * SMALL,)))
    gradients = torch.autograd.grad(logits.sum(), list(values.values()))
    return {
        name: gradient * value.detach() / SMALL
        for name, gradient, value in zip(weights, gradients, values.values(), strict=True)
    }
