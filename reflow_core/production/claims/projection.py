"""A shortcut projection that pruning missed: when it goes unnoticed, and when PyTorch raises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.production.channels import Group, coupled, mismatches
from reflow_core.production.claims import ELSEWHERE, FAILS, HOLDS, Tested, Trial, claim
from reflow_core.signal.copies import clone_module

CUT = 0.3  # of the channels, an ordinary cut


@dataclass(frozen=True, slots=True)
class Fault:
    """A layer narrowed by mistake: the `channels` left, whether the network still runs, and what is said of it."""

    layer: str
    channels: int
    runs: bool
    caught: tuple[str, ...]


@claim(
    "projection",
    "A shortcut projection missed by pruning goes unnoticed if one channel is left, because the addition "
    "broadcasts it; after a cut of 30 % PyTorch raises an error",
    "article on pruned models in production, which claims this for any cut; the limits are our own",
)
def projection(trial: Trial) -> Tested:
    """Plant the fault in each layer of the main path: one channel left, and 30 % cut."""
    network = trial.source.network(trial.spec.model)
    images = evaluation_inputs(trial.source.images(trial.spec).test, network.info)(slice(0, 2))
    classifier = trace_of(trial.spec, trial.source).classifier
    groups = [group for group in coupled(network.module, images, classifier, trial.watch) if "shortcut" in group.role]
    single, ordinary = (list(_faults(network.module, groups, images, share)) for share in (1.0, CUT))
    if not single:
        return Tested(ELSEWHERE, "This network has no shortcut convolution that pruning could miss.")
    unnoticed, passed = ([fault for fault in faults if fault.runs] for faults in (single, ordinary))
    running = [*unnoticed, *passed]
    caught = [fault.caught[0] for fault in running if fault.caught]
    named = f" Comparing widths by layer name detects {len(caught)} of these {len(running)}" if running else ""
    measured = (
        f"Left with one channel, {len(unnoticed)} of {len(single)} layers run without an error; with "
        f"{100 * CUT:.0f} % cut, {len(passed)} of "
        f"{len(ordinary)}.{named}{f', such as: {caught[0]}' if caught else ''}{'.' if running else ''} Rule: some "
        "run with one channel left, none after the ordinary cut."
    )
    return Tested(only_by_broadcast(len(unnoticed), len(passed)), measured)


def only_by_broadcast(with_one_channel: int, after_a_cut: int) -> str:
    """Holds where some faults with one channel left run, and none does after an ordinary cut."""
    return HOLDS if with_one_channel and not after_a_cut else FAILS


def _faults(dense: nn.Module, groups: Sequence[Group], images: Tensor, share: float) -> Iterator[Fault]:
    """Every layer that makes coupled channels, without the share of them, but for one at least."""
    channels = {group.name: group.channels for group in groups}
    makers = {member.layer: group for group in groups for member in group.members if member.side == "out"}
    for layer, group in makers.items():
        planted, left = clone_module(dense), max(1, round((1 - share) * group.channels))
        if narrowed(planted, layer, left):
            runs = _runs(planted, images)
            yield Fault(layer, left, runs, tuple(mismatches(planted, dense, groups, channels)))


def _runs(network: nn.Module, images: Tensor) -> bool:
    try:
        with torch.inference_mode():
            network(images)
    except (RuntimeError, ValueError):
        return False
    return True


def narrowed(network: nn.Module, name: str, left: int = 1) -> bool:
    """Leave a convolution and the BatchNorm behind it in its container `left` channels; whether that was possible."""
    module = network.get_submodule(name)
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        return False
    siblings = [child for _, child in network.get_submodule(name.rpartition(".")[0]).named_children()]
    place = siblings.index(module)
    with torch.no_grad():
        module.weight = _first(module.weight, left)
        module.bias = None if module.bias is None else _first(module.bias, left)
        module.out_channels = left
        for norm in siblings[place + 1 : place + 2]:
            if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
                norm.weight, norm.bias = _first(norm.weight, left), _first(norm.bias, left)
                norm.running_mean, norm.running_var = norm.running_mean[:left].clone(), norm.running_var[:left].clone()
                norm.num_features = left
    return True


def _first(parameter: Tensor, left: int) -> nn.Parameter:
    return nn.Parameter(parameter[:left].clone(), requires_grad=False)
