"""Distillation without labels: first each layer learns its dense outputs, then the network the dense logits.

A few hundred images are soon learned by heart, so that each batch is mixed with itself in another order (mixup, Zhang
et al., arXiv 1710.09412): the dense network says what becomes of any mixture. What was learned is kept in part: weights
between the two ends of training generalize better than either (Wortsman et al., arXiv 2109.01903).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.errors import NotApplicable
from reflow_core.numbers import whole_percent
from reflow_core.repairs import Calibration, RepairInfo, Told, repairs
from reflow_core.repairs.least_squares import least_squares
from reflow_core.repairs.reflow import recalibrate
from reflow_core.repairs.training import Curve, part_buffers, stay_zero, step
from reflow_core.signal.copies import clone_on, device_of
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.predictions import logits_of
from reflow_core.watch import Watch

TEMPERATURE, RATE, BATCH, HELD_OUT, LOOKS = 2.0, 1e-3, 32, 32, 4
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)  # of the way that training went


@repairs.register(
    RepairInfo(
        "distill",
        "Least squares + distillation",
        "Least squares, then training to the dense network's logits on mixed images, with a fixed mask and without "
        "labels, and REFLOW. How far the weights go that way is chosen on held-out calibration images.",
        "Hinton et al., arXiv 1503.02531, section 2; mixup: Zhang et al., arXiv 1710.09412; weights between two "
        "networks: Wortsman et al., arXiv 2109.01903, section 3",
        needs_data=True,
        reads=("epochs",),
        on_device=True,
        between="least-squares",
        holds_out=HELD_OUT,
    )
)
def distill(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> Told:
    """See `least_squares` and `train_to_dense`; neither fits the held-out images, see `Calibration.parted`.

    Raises NotApplicable where the network gives no logits of several classes.
    """
    home, shown = device_of(pruned), calibration.parted(HELD_OUT)[1]
    squares = Told.of(least_squares(clone_on(dense, "cpu"), pruned.to("cpu"), shown, watch))
    curve = train_to_dense(clone_on(dense, home), pruned.to(home), calibration, watch)
    trained = f"Then all remaining weights, in {len(curve.train)} epochs over {len(shown.inputs)} images"
    kept = f"of whose change {whole_percent(curve.share)} is kept"
    lowered = f"the held-out divergence from dense was {curve.held[0]:.3f}, is {curve.kept:.3f}"
    return Told(f"{squares.summary} {trained}, {kept}: {lowered}.", curve, squares.ridges)


def train_to_dense(dense: nn.Module, network: nn.Module, calibration: Calibration, watch: Watch) -> Curve:
    """Adam on T² KL(dense ‖ network) of the softened predictions, T = 2, in place; what is 0 stays 0.

    The learning rate falls by a cosine over `calibration.epochs`. Kept is the one of SHARES of the change that the
    held-out images diverge least with, the norms re-estimated on all images each time.
    """
    calibration = dataclasses.replace(calibration, statistics="population")
    held, train = calibration.parted(HELD_OUT)
    images, unseen = (part.to(device_of(network)) for part in (train.inputs, held))
    order, epochs = torch.Generator().manual_seed(calibration.seed), calibration.epochs
    wanted = logits_of_all(dense, unseen)
    if wanted.ndim != 2 or wanted.shape[1] < 2:
        raise NotApplicable("Distillation needs logits of several classes, and this network gives none.")
    part_buffers(network)
    judge = lambda: divergence_of(network, calibration, unseen, wanted)  # noqa: E731
    optimizer = torch.optim.Adam(network.requires_grad_(True).parameters(), RATE)
    batches, zeros, losses = -(-len(images) // BATCH), list(stay_zero(network)), list[float]()
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    judged, start = {0: judge()}, copy.deepcopy(list(network.parameters()))
    try:
        for epoch in range(1, epochs + 1):
            total = 0.0
            for number, batch in enumerate(images[torch.randperm(len(images), generator=order)].chunk(batches)):
                watch("distill", (epoch - 1) * batches + number, epochs * batches)
                mixtures = mixed(batch, order)
                loss = divergences(logits_of(network.train()(mixtures)), logits_of_all(dense, mixtures)).mean()
                total += step(optimizer, loss, zeros) * len(batch)
                falling.step()
            losses.append(total / len(images))
            if epoch == epochs or epoch % -(-epochs // LOOKS) == 0:
                judged[epoch] = judge()
        share, kept = best_share(network, start, judge)
    finally:
        network.eval().requires_grad_(False)
    return Curve(tuple(losses), (*judged.values(),), (*judged,), epochs if share else 0, kept, share)


def best_share(network: nn.Module, start: list[nn.Parameter], judge: Callable[[], float]) -> tuple[float, float]:
    """Set the weights between `start` and what they are, or beyond; returns the one of SHARES and what `judge` says."""
    end = copy.deepcopy(list(network.parameters()))

    def go(share: float) -> float:
        with torch.no_grad():
            for parameter, first, last in zip(network.parameters(), start, end, strict=True):
                parameter.copy_(torch.lerp(first, last, share) if share else first)  # 0 times infinity is not 0
        return judge()

    found = {share: go(share) for share in SHARES}
    share = min(SHARES, key=found.__getitem__)  # of equals, and where some are not numbers, the first
    return share, go(share)


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


def divergence_of(network: nn.Module, calibration: Calibration, images: Tensor, wanted: Tensor) -> float:
    """The mean divergence on some images, the norms re-estimated on all."""
    network.eval()
    if batch_norms(network):
        recalibrate(network, calibration)
    return float(divergences(logits_of_all(network, images), wanted).mean())
