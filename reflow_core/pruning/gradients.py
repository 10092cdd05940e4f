"""Gradients of the loss at the dense weights: their mean, and one a sample (the rows of the empirical Fisher)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from reflow_core.errors import ReflowError
from reflow_core.numbers import short_count, size
from reflow_core.pruning.masks import Weights
from reflow_core.signal.copies import clone_module, shallow_clone
from reflow_core.signal.predictions import logits_of
from reflow_core.watch import Watch

CHUNK = 64
CHUNK_PIXELS = CHUNK * 3 * 32 * 32  # a backward pass cannot be stopped on the way, so large images go in small chunks
MOST_SAMPLES = 1_000
MOST_BYTES = 4 * 2**30


def chunks(inputs: Tensor) -> list[slice]:
    """Slices of at most CHUNK images and CHUNK_PIXELS values, of one image at least."""
    size = max(1, min(CHUNK, CHUNK_PIXELS // inputs[0].numel())) if len(inputs) else CHUNK
    return [slice(start, start + size) for start in range(0, len(inputs), size)]


def mean_gradient(network: nn.Module, weights: Weights, inputs: Tensor, labels: Tensor, watch: Watch) -> Weights:
    """∂/∂w of the mean cross-entropy over samples (N, 3, H, W), in eval mode, in each weight's own shape."""
    clone = clone_module(network).eval()
    wanted = [clone.get_submodule(name).get_parameter("weight").requires_grad_() for name in weights]
    sums = [torch.zeros_like(weight) for weight in wanted]
    for part in chunks(inputs):
        watch("scores", part.start, len(inputs))
        loss = F.cross_entropy(logits_of(clone(inputs[part])), labels[part], reduction="sum")
        for total, one in zip(sums, torch.autograd.grad(loss, wanted), strict=True):
            total += one
    return dict(zip(weights, (total / len(inputs) for total in sums), strict=True))


def each_gradient(
    network: nn.Module, weights: Weights, inputs: Tensor, labels: Tensor, watch: Watch
) -> Iterator[dict[str, Tensor]]:
    """∂/∂w of every sample's own cross-entropy, in eval mode: chunks of (n, *shape of the weight) by layer name."""
    clone = shallow_clone(network).eval()  # functional_call swaps the parameters of the module it is given

    def loss(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(logits_of(functional_call(clone, values, (image[None],))), label[None])

    one_each = vmap(grad(loss), in_dims=(None, 0, 0))
    values = {f"{name}.weight": weight for name, weight in weights.items()}
    for part in chunks(inputs):
        watch("scores", part.start, len(inputs))
        with torch.no_grad():  # which the inner differentiation does not see
            gradients = one_each(values, inputs[part], labels[part]).values()
        yield dict(zip(weights, gradients, strict=True))


def gradient_matrix(network: nn.Module, weights: Weights, inputs: Tensor, labels: Tensor, watch: Watch) -> Tensor:
    """All samples' gradients as one matrix (N, number of weights), layers side by side.

    Raises ReflowError, before anything is computed, where it would take over MOST_BYTES.
    """
    total = sum(weight.numel() for weight in weights.values())
    needed = 4 * len(inputs) * total
    if needed > MOST_BYTES:
        fits = MOST_BYTES // (4 * total)
        raise ReflowError(
            f"The gradients of {len(inputs)} samples for {short_count(total)} weights would take {size(needed)}; "
            f"use at most {fits} calibration images, or a criterion that stores no matrix (fisher, snip)."
        )
    matrix = torch.empty(len(inputs), total)
    start = 0
    for chunk in each_gradient(network, weights, inputs, labels, watch):
        rows = torch.cat([part.flatten(1) for part in chunk.values()], 1)
        matrix[start : start + len(rows)] = rows
        start += len(rows)
    return matrix
