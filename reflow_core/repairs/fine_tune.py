"""A fine-tune with the mask fixed, until it no longer helps: what training brings back that statistics cannot."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.repairs.estimators import corrected
from reflow_core.signal.layers import NORMS, PRUNABLE, batch_norms
from reflow_core.signal.predictions import logits_of
from reflow_core.watch import Watch

RATES, MOMENTUM, BATCH = (0.02, 0.004), 0.9, 64
HELD_OUT, FLAT, PATIENCE, MOST_EPOCHS = 0.2, 0.01, 4, 20  # epochs at each rate
Zeros = list[tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Curve:
    """Cross-entropy in nats: `train`, each epoch's mean; `held`, on held-out images before the first and after each.

    `best`: the epoch whose network is kept; 0 is the start, REFLOW alone.
    """

    train: tuple[float, ...]
    held: tuple[float, ...]
    best: int


@repairs.register(
    RepairInfo(
        "fine-tune",
        "Fine-tune",
        ("REFLOW, then training on the labeled calibration images with a fixed mask until the held-out loss is flat."),
        "Han et al., arXiv 1506.02626, section 3",
        needs_data=True,
        on_device=True,
        any_width=True,
    )
)
def fine_tune(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """See `train_until_flat`."""
    curve = train_until_flat(pruned, calibration, watch)
    return (
        f"All remaining weights, in {len(curve.train)} epochs over {len(calibration.inputs)} images; the "
        f"held-out loss went from {curve.held[0]:.3f} to {curve.held[curve.best]:.3f} (epoch {curve.best}, kept)."
    )


def train_until_flat(network: nn.Module, calibration: Calibration, watch: Watch) -> Curve:
    """SGD with momentum 0.9 on cross-entropy, in place, a fifth of the images held out; what is 0 stays 0.

    Each of RATES trains from the best network so far until PATIENCE epochs have not lowered the held-out loss by FLAT
    of it, for MOST_EPOCHS at most. BatchNorm's statistics are re-estimated first (see REFLOW) and then averaged as in
    any training. Raises NotApplicable without labels.
    """
    if calibration.labels is None:
        raise NotApplicable("Fine-tuning needs labeled training images, and these have no labels.")
    device, order = next(network.parameters()).device, torch.Generator().manual_seed(calibration.seed)
    inputs, labels = calibration.inputs.to(device), calibration.labels.to(device)
    held, train = torch.randperm(len(inputs), generator=order).tensor_split([max(1, round(HELD_OUT * len(inputs)))])
    train = train if len(train) else held  # of a single image
    if norms := batch_norms(network):
        with torch.no_grad():
            corrected(network, norms, calibration.inputs)
    part_buffers(network)
    zeros, best, kept = list(stay_zero(network)), 0, copy.deepcopy(network.state_dict())
    losses, judged = list[float](), [loss_of(network, inputs[held], labels[held])]
    try:
        network.requires_grad_(True)
        for rate in RATES:
            optimizer, first = torch.optim.SGD(network.parameters(), rate, MOMENTUM), len(losses)
            while len(losses) - max(first, best) < PATIENCE and len(losses) - first < MOST_EPOCHS:
                total = 0.0
                for batch in train[torch.randperm(len(train), generator=order)].chunk(-(-len(train) // BATCH)):
                    watch("calibrate", len(losses), len(RATES) * MOST_EPOCHS)
                    total += step(network, optimizer, inputs[batch], labels[batch], zeros) * len(batch)
                losses.append(total / len(train))
                judged.append(loss_of(network, inputs[held], labels[held]))
                if judged[-1] < (1 - FLAT) * judged[best]:
                    best, kept = len(losses), copy.deepcopy(network.state_dict())
            network.load_state_dict(kept)
    finally:
        network.eval().requires_grad_(False)
    return Curve(tuple(losses), tuple(judged), best)


def step(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, zeros: Zeros) -> float:
    """One step of the optimizer, after which what stays zero is set to zero again; returns the loss."""
    loss = F.cross_entropy(logits_of(network.train()(inputs)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for parameter, zero in zeros:
            parameter.masked_fill_(zero, 0)
    return loss.item()


def loss_of(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The mean cross-entropy in eval mode."""
    with torch.no_grad():
        return float(F.cross_entropy(logits_of(network.eval()(inputs)), labels))


def part_buffers(network: nn.Module) -> None:
    """Give the buffers memory of their own: in one block with the weights, to update them looks like changing those."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.clone())


def stay_zero(network: nn.Module) -> Iterator[tuple[Tensor, ...]]:
    """What is 0 and stays so, and where: pruned weights, and the scale and shift of channels that are silent."""
    for module in network.modules():
        weight, bias = (module._parameters.get(name) for name in ("weight", "bias"))
        if weight is None or not isinstance(module, (*PRUNABLE, *NORMS)):
            continue
        silent = (weight == 0).reshape(len(weight), -1).all(1)
        if bias is not None and bias.shape == silent.shape:
            silent = silent & (bias == 0)
            yield bias, silent
        yield weight, weight == 0 if isinstance(module, PRUNABLE) else silent
