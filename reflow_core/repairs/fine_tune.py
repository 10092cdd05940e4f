"""A short fine-tune with the mask fixed: what training brings back that statistics cannot."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.repairs.estimators import in_one_batch
from reflow_core.signal.layers import PRUNABLE, batch_norms
from reflow_core.signal.predictions import logits_of
from reflow_core.watch import Watch

EPOCHS, BATCH, RATE, MOMENTUM = 5, 64, 0.02, 0.9


@repairs.register(
    RepairInfo(
        "fine-tune",
        "Fine-tune",
        f"REFLOW, then {EPOCHS} epochs of training on the labeled calibration images with the mask fixed; "
        "the learning rate is not tuned.",
        "Han et al., arXiv 1506.02626, section 3",
        needs_data=True,
        on_device=True,
        any_width=True,
    )
)
def fine_tune(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """SGD with momentum 0.9 and a cosine rate from 0.02 on cross-entropy; weights that are 0 stay 0.

    BatchNorm's statistics are re-estimated before and after (see REFLOW). Raises NotApplicable without labels.
    """
    if calibration.labels is None:
        raise NotApplicable("Fine-tuning needs labeled training images, and these have no labels.")
    device = next(pruned.parameters()).device
    inputs, labels = calibration.inputs.to(device), calibration.labels.to(device)
    weights = [module.get_parameter("weight") for module in pruned.modules() if isinstance(module, PRUNABLE)]
    zeros = [weight == 0 for weight in weights]
    order = torch.Generator().manual_seed(calibration.seed)
    recalibrate(pruned, calibration)
    part_buffers(pruned)
    pruned.requires_grad_(True).train()
    optimizer = torch.optim.SGD(pruned.parameters(), RATE, MOMENTUM)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses: list[Tensor] = []
    try:
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(inputs), generator=order).split(BATCH):
                watch("calibrate", len(losses), steps)
                loss = F.cross_entropy(logits_of(pruned(inputs[batch])), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                keep_zero(weights, zeros)
                losses.append(loss.detach())
    finally:
        pruned.eval().requires_grad_(False)
    recalibrate(pruned, calibration)
    last = torch.stack(losses[-steps // EPOCHS :]).mean()
    return (
        f"All weights that are left, by {steps} steps on {len(inputs)} images; the loss went from {losses[0]:.3f} to "
        f"{last:.3f}."
    )


def part_buffers(network: nn.Module) -> None:
    """Give the buffers memory of their own: in one block with the weights, to update them looks like changing those."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.clone())


def keep_zero(weights: Sequence[Tensor], zeros: Sequence[Tensor]) -> None:
    """Set what is pruned to zero again, in place."""
    with torch.no_grad():
        for weight, zero in zip(weights, zeros, strict=True):
            weight.masked_fill_(zero, 0)


def recalibrate(network: nn.Module, calibration: Calibration) -> None:
    """REFLOW, where there is a BatchNorm."""
    if norms := batch_norms(network):
        with torch.no_grad():
            in_one_batch(network, norms, calibration)
