"""Pruning anybody's network in one call: a criterion, an allocation, a sparsity."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from reflow_core.batches import Batches, gather
from reflow_core.errors import ReflowError
from reflow_core.pruning.allocations import Budget
from reflow_core.pruning.criteria import Samples, Subject
from reflow_core.pruning.gradients import MOST_SAMPLES, gradient_matrix
from reflow_core.pruning.masks import Masks, install
from reflow_core.pruning.patterns import UNSTRUCTURED
from reflow_core.pruning.select import Rules, choose
from reflow_core.pruning.updates import updates
from reflow_core.signal.copies import clone_on
from reflow_core.signal.layers import PRUNABLE, prunable
from reflow_core.watch import Watch, ignore


def prune(
    model: nn.Module,
    sparsity: float,
    criterion: str = "magnitude",
    allocation: str = "global",
    batches: Batches | None = None,
    inplace: bool = True,
    update: str = "none",
    pattern: str = UNSTRUCTURED,
    layer_sparsity: Mapping[str, float] | None = None,
    exclude: Iterable[str] = (),
    seed: int = 0,
    watch: Watch = ignore,
) -> Masks:
    """Choose which weights of the convolutions and linear layers go, and set them to zero.

    Args:
        model: A network of any kind, on any device, in any mode. What `torch.nn.utils.prune` removed before stays
            removed and counts; in place it is made permanent.
        sparsity: Fraction of these weights to remove, 0 to 1, over all layers that are not excluded.
        criterion: How weights are scored, a name in `reflow_core.pruning.criteria.criteria`.
        allocation: How the sparsity is spread over layers: "global", "uniform", "erk", "lamp", "custom", "scaled".
        batches: Calibration images, for criteria and updates that read them; labeled for those that need gradients.
            At most the first 1,000 are used. For "synflow" one image tells the shape.
        inplace: False leaves the model as it is and only returns the masks.
        update: What the weights that are left become: "none", or "obs" (reads labeled batches).
        pattern: "unstructured", "N:M" (which fixes the sparsity) or "channel" (whole output channels).
        layer_sparsity: Fractions by layer name, for the allocations "custom" and "scaled".
        exclude: Names of layers that stay dense.
        seed: Draws random scores.
        watch: Called at every layer and batch; may raise `Cancelled`.

    Returns:
        A mask (True: kept) in each weight's own shape, by module name, on the CPU.

    Raises:
        ReflowError: For an unknown name, a sparsity out of range, a network without such layers, and where batches or
            labels are missing.

    Source: stands beside each criterion, `reflow_core.pruning.criteria.criteria[criterion].info.paper`.

    Example:
        >>> import torch, reflow_core as rc
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Flatten(), nn.Linear(8, 4, bias=False))
        >>> masks = rc.prune(model, sparsity=0.75, allocation="uniform")
        >>> {name: int(mask.sum()) for name, mask in masks.items()}
        {'0': 54, '2': 8}
        >>> int(model[0].weight.count_nonzero())
        54
    """
    if not 0 <= sparsity <= 1:
        raise ReflowError(f"sparsity={sparsity} is out of range; choose a fraction from 0 to 1.")
    before = removed_before(model)
    if inplace:
        make_permanent(model)
    subject = subject_of(model, batches, seed, watch)
    if not subject.weights:
        raise ReflowError("This network has no convolution and no linear layer, so there is nothing to prune.")
    rules = Rules(allocation, Budget(sparsity, dict(layer_sparsity or {})), pattern, frozenset(exclude), before)
    masks = choose(subject, criterion, rules)
    masks = {name: mask & before[name] if name in before else mask for name, mask in masks.items()}
    if inplace:
        install(model, updates[update].function(subject, masks))
    return masks


def subject_of(model: nn.Module, batches: Batches | None, seed: int, watch: Watch) -> Subject:
    """What criteria and updates look at, on the CPU in eval mode. Raises ReflowError, see `gather`."""
    network = clone_on(model, "cpu").eval()
    weights = prunable(network)
    if batches is None:
        return Subject(network, weights, seed, watch=watch)
    gathered = gather(batches)
    labels = None if gathered.labels is None else gathered.labels[:MOST_SAMPLES].cpu()
    samples = Samples(gathered.inputs[:MOST_SAMPLES].cpu(), labels)

    @functools.cache
    def gradients() -> Tensor:
        return gradient_matrix(network, weights, samples.inputs, samples.classes, watch)

    return Subject(network, weights, seed, lambda: samples, gradients, samples.inputs[:1], watch=watch)


def removed_before(model: nn.Module) -> Masks:
    """The masks (True: kept) that `torch.nn.utils.prune` holds, by module name, on the CPU."""
    return {
        name: module.get_buffer("weight_mask").bool().cpu()
        for name, module in model.named_modules()
        if isinstance(module, PRUNABLE) and "weight_mask" in module._buffers
    }


def make_permanent(model: nn.Module) -> None:
    """Replace what `torch.nn.utils.prune` computes at every pass by plain weights with zeros, in place."""
    for module in model.modules():
        if isinstance(module, PRUNABLE) and "weight_mask" in module._buffers:
            torch_prune.remove(module, "weight")
