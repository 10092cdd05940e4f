"""Attention heads: how much each seems to matter, and a network without some of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.networks.vit import Attention
from reflow_core.signal.copies import PreHook, clone_module, hooked, shallow_clone

Batch = tuple[Tensor, Tensor]  # inputs (N, 3, H, W), labels (N,)


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """One head: the attention module it belongs to, by name, and its number there."""

    layer: str
    number: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.number}"


def attentions(network: nn.Module) -> dict[str, Attention]:
    """All attention modules by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Attention)}


def importance(network: nn.Module, batches: Iterable[Batch]) -> dict[Head, float]:
    """How much each head seems to matter on labeled images, the least first.

    The mean over images of |∂ loss / ∂ ξ| at ξ = 1, where ξ scales what the head puts out; divided by the layer's
    root of the sum of squares, as the authors do (P. Michel et al., arXiv 1905.10650, section 4.1, equation 2).
    """
    layers = attentions(network)
    total = {name: torch.zeros(module.heads, dtype=torch.float64) for name, module in layers.items()}
    private = shallow_clone(network)
    for images, labels in batches:
        scales = {name: torch.ones(len(images), len(sums), requires_grad=True) for name, sums in total.items()}
        with hooked(private, {f"{name}.out": _scaling(scale) for name, scale in scales.items()}), torch.enable_grad():
            loss = F.cross_entropy(private(images), labels, reduction="sum")
            gradients = torch.autograd.grad(loss, list(scales.values()))
        for sums, gradient in zip(total.values(), gradients, strict=True):
            sums += gradient.abs().sum(0)
    relative = {name: (sums / sums.norm().clamp(min=1e-30)).tolist() for name, sums in total.items()}
    scores = {Head(name, number): score for name, each in relative.items() for number, score in enumerate(each)}
    return dict(sorted(scores.items(), key=lambda scored: scored[1]))


def _scaling(scale: Tensor) -> PreHook:
    """A hook that multiplies what each head (N, heads) gives to the output projection."""

    def multiply(module: nn.Module, arriving: tuple[Tensor, ...]) -> tuple[Tensor]:
        by_head = arriving[0].unflatten(2, (scale.shape[1], -1))
        return ((by_head * scale[:, None, :, None]).flatten(2),)

    return multiply  # type: ignore[return-value]  # a pre-hook may return what the layer is to read instead


def silenced(network: nn.Module, heads: Sequence[Head]) -> nn.Module:
    """A copy in which these heads put out zero and nothing reads them: their rows of `qkv`, their columns of `out`."""
    copy = clone_module(network)
    layers = attentions(copy)
    with torch.no_grad():
        for head in heads:
            module = layers[head.layer]
            for rows in _rows(module, head.number):
                module.qkv.weight[rows] = 0
                module.qkv.bias[rows] = 0
            module.out.weight[:, next(_rows(module, head.number))] = 0
    return copy


def _rows(module: Attention, number: int) -> Iterator[slice]:
    """Where a head's queries, keys and values stand among the outputs of `qkv`; the first is its place in `out` too."""
    width = module.out.in_features
    each = width // module.heads
    return (slice(part * width + number * each, part * width + (number + 1) * each) for part in range(3))
