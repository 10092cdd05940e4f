"""A fine-tune with the mask fixed, until it no longer helps: what training brings back that statistics cannot."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, RepairInfo, Told, repairs
from reflow_core.repairs.estimators import corrected
from reflow_core.repairs.training import Curve, part_buffers, stay_zero, step
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.predictions import logits_of
from reflow_core.watch import Watch

RATES, MOMENTUM, BATCH = (0.02, 0.004), 0.9, 64
HELD_OUT, FLAT, PATIENCE, MOST_EPOCHS = 0.2, 0.01, 4, 20  # epochs at each rate


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
def fine_tune(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> Told:
    """See `train_until_flat`."""
    curve = train_until_flat(pruned, calibration, watch)
    return Told(
        f"All remaining weights, in {len(curve.train)} epochs over {len(calibration.inputs)} images; the "
        f"held-out loss went from {curve.held[0]:.3f} to {curve.kept:.3f} (epoch {curve.best}, kept).",
        curve,
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
                    loss = F.cross_entropy(logits_of(network.train()(inputs[batch])), labels[batch])
                    total += step(optimizer, loss, zeros) * len(batch)
                losses.append(total / len(train))
                judged.append(loss_of(network, inputs[held], labels[held]))
                if judged[-1] < (1 - FLAT) * judged[best]:
                    best, kept = len(losses), copy.deepcopy(network.state_dict())
            network.load_state_dict(kept)
    finally:
        network.eval().requires_grad_(False)
    return Curve(tuple(losses), tuple(judged), tuple(range(len(judged))), best, judged[best])


def loss_of(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The mean cross-entropy in eval mode."""
    with torch.no_grad():
        return float(F.cross_entropy(logits_of(network.eval()(inputs)), labels))
