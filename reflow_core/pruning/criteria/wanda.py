"""Wanda: weights times the norm of what they read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reflow_core.errors import ReflowError
from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.masks import Weights
from reflow_core.signal.copies import shallow_clone, watched
from reflow_core.signal.unfold import windows

BATCH = 128
Hook = Callable[[nn.Module, tuple[Tensor, ...]], None]


@criteria.register(
    CriterionInfo(
        "wanda",
        "Wanda",
        "Keep, within each output, the weights with the largest |w| · norm of their input. Whole channels are "
        "compared within their layer by the mean over their weights, which is not in the paper.",
        "Sun et al., arXiv 2306.11695",
        needs_data=True,
        comparison="row",
    )
)
def wanda(subject: Subject) -> Weights:
    """|w_ij| · ‖x_j‖₂ over calibration images and positions (Sun et al., 2024, eq. 1); compared within an output row.

    Raises ReflowError for a layer that is neither Conv2d nor Linear.
    """
    clone = shallow_clone(subject.network)
    squares: dict[str, Tensor] = {}
    for name, weight in subject.weights.items():
        module = clone.get_submodule(name)
        if not isinstance(module, nn.Conv2d | nn.Linear):
            raise ReflowError(f"wanda supports Conv2d and Linear layers; {name} is a {type(module).__name__}.")
        squares[name] = torch.zeros(read_shape(module, weight))
        module.register_forward_pre_hook(_adding(squares[name]))
    inputs = subject.samples().inputs
    with torch.inference_mode(), watched(clone, subject.watch, "scores", len(inputs), -(-len(inputs) // BATCH)):
        for batch in inputs.split(BATCH):
            clone(batch)
    return {name: weight.abs() * by_row(squares[name].sqrt(), weight) for name, weight in subject.weights.items()}


def read_shape(module: nn.Module, weight: Tensor) -> tuple[int, ...]:
    """The shape of what a layer's outputs read between them: (C_in, k_h, k_w), or (C_in,) for a linear layer."""
    return weight.shape[1] * getattr(module, "groups", 1), *weight.shape[2:]


def _adding(squares: Tensor) -> Hook:
    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        squares.add_(input_squares(module, arguments[0]))

    return hook


def input_squares(module: nn.Module, arriving: Tensor) -> Tensor:
    """Σ x² over images and output positions, for each input that a weight multiplies: (C_in, k_h, k_w) or (C_in,)."""
    if isinstance(module, nn.Linear):
        return arriving.square().flatten(0, -2).sum(0)
    assert isinstance(module, nn.Conv2d)
    return windows(module, arriving.square().sum(0, keepdim=True)).sum((0, 2)).view(-1, *module.kernel_size)


def by_row(norms: Tensor, weight: Tensor) -> Tensor:
    """The norms (C_in, …) laid out beside each row of a weight (C_out, C_in/g, …)."""
    groups = len(norms) // weight.shape[1]
    return torch.unflatten(norms, 0, (groups, -1)).repeat_interleave(len(weight) // groups, 0)
