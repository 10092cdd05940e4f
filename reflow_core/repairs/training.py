"""What repairs share that train: a step after which what is 0 is 0 again, and the curve that tells how it went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reflow_core.signal.layers import NORMS, PRUNABLE

Zeros = list[tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Curve:
    """A loss in nats: `train`, each epoch's mean; `held`, on held-out images, after each epoch of `judged`.

    `best`: the epoch whose network is kept; 0 is the start. `share`: how far from the start toward that network the
    weights go that are kept, and `kept` their loss on the held-out images.
    """

    train: tuple[float, ...]
    held: tuple[float, ...]
    judged: tuple[int, ...]
    best: int
    kept: float
    share: float = 1.0


def step(optimizer: torch.optim.Optimizer, loss: Tensor, zeros: Zeros) -> float:
    """One step of the optimizer, after which what stays zero is set to zero again; returns the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for parameter, zero in zeros:
            parameter.masked_fill_(zero, 0)
    return loss.item()


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
