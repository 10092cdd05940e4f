"""Distillation without labels: first each layer learns its dense outputs, then the network the dense logits.

A few hundred images are soon learned by heart, so that each batch is mixed with itself in another order (mixup, Zhang
et al., arXiv 1710.09412): the dense network says what becomes of any mixture.
"""

from __future__ import annotations

import copy
import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.errors import NotApplicable
from reflow_core.memo import Memo
from reflow_core.repairs import Calibration, RepairInfo, Told, repairs
from reflow_core.repairs.least_squares import least_squares
from reflow_core.repairs.reflow import recalibrate
from reflow_core.repairs.training import Curve, part_buffers, stay_zero, step
from reflow_core.signal.copies import clone_on, device_of
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.predictions import logits_of
from reflow_core.watch import Watch

TEMPERATURE, RATE, BATCH, HELD_OUT = 2.0, 1e-3, 32, 0.125


@repairs.register(
    RepairInfo(
        "distill",
        "Least squares + distillation",
        "Least squares, then training to the dense network's logits on mixed images, with a fixed mask and without "
        "labels, and REFLOW. The epoch with the least divergence on held-out calibration images is kept, or none if "
        "that gains less than its standard error.",
        "Hinton et al., arXiv 1503.02531, section 2; mixup: Zhang et al., arXiv 1710.09412",
        needs_data=True,
        reads=("epochs",),
        on_device=True,
        between="least-squares",
    )
)
def distill(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> Told:
    """See `least_squares` and `train_to_dense`; neither fits the images that are held out to choose the epoch by.

    Where no epoch is kept, least squares fits all images. Raises NotApplicable where the network gives no logits of
    several classes.
    """
    home, (_, train), before = device_of(pruned), parted(calibration), state_of(pruned)
    shown = dataclasses.replace(calibration, inputs=train, labels=None, learned=Memo(0))
    reference = clone_on(dense, torch.device("cpu"))
    squares = Told.of(least_squares(reference, pruned.to("cpu"), shown, watch))
    curve = train_to_dense(clone_on(dense, home), pruned.to(home), calibration, watch)
    first, best, epochs = curve.held[0], curve.held[curve.best], len(curve.train)
    trained = (
        f"Then all remaining weights, in {epochs} epochs over {len(shown.inputs)} images; the held-out divergence "
        f"from dense went from {first:.3f} to {best:.3f} (epoch {curve.best}, kept)."
    )
    if not curve.best:
        pruned.load_state_dict(before)
        squares = Told.of(least_squares(reference, pruned.to("cpu"), calibration, watch))
        trained = (
            f"In {epochs} epochs no training lowered the held-out divergence from dense ({first:.3f}) by more than a "
            "standard error; none is kept."
        )
    return Told(f"{squares.summary} {trained}", curve, squares.ridges)


def parted(calibration: Calibration) -> tuple[Tensor, Tensor]:
    """The images that are held out (n, C, H, W), an eighth, and the others; both the same where there is but one."""
    order = torch.randperm(len(calibration.inputs), generator=torch.Generator().manual_seed(calibration.seed))
    held, train = calibration.inputs[order].tensor_split([max(1, round(HELD_OUT * len(order)))])
    return held, train if len(train) else held


def train_to_dense(dense: nn.Module, network: nn.Module, calibration: Calibration, watch: Watch) -> Curve:
    """Adam on T² KL(dense ‖ network) of the softened predictions, T = 2, in place; what is 0 stays 0.

    The learning rate falls by a cosine over `calibration.epochs`. The epoch is chosen by the held-out images, the norms
    re-estimated on all of them each time; the start stands unless the gain on them is more than its standard error
    (Hastie et al., The Elements of Statistical Learning, section 7.10).
    """
    calibration = dataclasses.replace(calibration, statistics="population")
    held, train = (part.to(device_of(network)) for part in parted(calibration))
    order = torch.Generator().manual_seed(calibration.seed)
    wanted = logits_of_all(dense, held)
    if wanted.ndim != 2 or wanted.shape[1] < 2:
        raise NotApplicable("Distillation needs logits of several classes, and this network gives none.")
    part_buffers(network)
    optimizer = torch.optim.Adam(network.requires_grad_(True).parameters(), RATE)
    batches, zeros, losses = -(-len(train) // BATCH), list(stay_zero(network)), list[float]()
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, calibration.epochs * batches)
    judge = lambda: divergences_of(network, calibration, held, wanted)  # noqa: E731
    judged = [judge()]
    best, kept = 0, state_of(network)
    start = kept
    try:
        for epoch in range(calibration.epochs):
            total = 0.0
            for number, batch in enumerate(train[torch.randperm(len(train), generator=order)].chunk(batches)):
                watch("distill", epoch * batches + number, calibration.epochs * batches)
                images = mixed(batch, order)
                loss = divergences(logits_of(network.train()(images)), logits_of_all(dense, images)).mean()
                total += step(optimizer, loss, zeros) * len(batch)
                falling.step()
            losses.append(total / len(train))
            judged.append(judge())
            if judged[-1].mean() < judged[best].mean():
                best, kept = len(losses), state_of(network)
        if not surely_less(judged[best], judged[0]):
            best, kept = 0, start
        network.load_state_dict(kept)
    finally:
        network.eval().requires_grad_(False)
    return Curve(tuple(losses), tuple(float(each.mean()) for each in judged), best)


def surely_less(after: Tensor, before: Tensor) -> bool:
    """Whether the values (N,) have fallen on average, pair by pair, by more than the standard error of the mean."""
    gained = (before - after).double()
    return len(gained) > 1 and bool(gained.mean() > gained.std() / len(gained) ** 0.5)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all tensors."""
    return copy.deepcopy(network.state_dict())


def mixed(images: Tensor, order: torch.Generator) -> Tensor:
    """Each image (N, …) with a share, drawn evenly from 0 to 1, of another."""
    shares = torch.rand(len(images), generator=order).view(-1, *[1] * (images.ndim - 1)).to(images.device)
    return shares * images + (1 - shares) * images[torch.randperm(len(images), generator=order)]


def logits_of_all(network: nn.Module, images: Tensor) -> Tensor:
    """What a network in eval mode says (N, classes), without gradients."""
    with torch.no_grad():
        return torch.cat([logits_of(network(batch)) for batch in images.split(BATCH)])


def divergences(logits: Tensor, wanted: Tensor) -> Tensor:
    """T² KL(softmax(wanted / T) ‖ softmax(logits / T)) of each image (N,), in nats."""
    ours, theirs = (F.log_softmax(each.float() / TEMPERATURE, 1) for each in (logits, wanted))
    return TEMPERATURE**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)


def divergences_of(network: nn.Module, calibration: Calibration, images: Tensor, wanted: Tensor) -> Tensor:
    """The divergences on some images, the norms re-estimated on all."""
    network.eval()
    if batch_norms(network):
        recalibrate(network, calibration)
    return divergences(logits_of_all(network, images), wanted)
