"""Channels that can only go together, and cutting them out: the one place that knows torch-pruning.

Its dependency graph (Fang et al., arXiv 2301.12900) finds which channels of which layers are coupled: by a shortcut, by
a norm, by what reads them. It can be wrong where channels are shifted on their way, so each group is verified: the
network without the channels must give the same logits as the network in which they are zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from reflow_core.errors import ReflowError
from reflow_core.numbers import significant
from reflow_core.signal.copies import clone_module
from reflow_core.signal.layers import PRUNABLE, is_norm
from reflow_core.watch import Watch, ignore

if TYPE_CHECKING:
    import torch_pruning

TOLERANCE = 1e-3  # of the largest logit
Gone = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Member:
    """A layer of a group: whether its outputs ("out") or its inputs ("in") are coupled, and at which channels."""

    layer: str
    kind: str
    side: str
    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """`channels` that go together, by the layer that makes them first. `held`: why none can be cut, "" if they can.

    `blocks`: of grouped convolutions among them, which lose the same channels in each of their groups.
    """

    name: str
    channels: int
    members: tuple[Member, ...]
    held: str = ""
    blocks: int = 1

    @property
    def role(self) -> str:
        """What couples them: a shortcut where several layers make the same channels."""
        makers = {
            member.layer
            for member in self.members
            if member.side == "out" and member.kind.startswith(("Conv", "Linear"))
        }
        return "main path, coupled by shortcuts" if len(makers) > 1 else "inside a block"


class Cutter:
    """The dependency graph of a cloned network, which it cuts in place.

    Raises ReflowError where a network cannot be traced.
    """

    def __init__(self, network: nn.Module, example: Tensor, classifier: str | None) -> None:
        import torch_pruning  # slow to import

        self.network, self.example = network, example
        network.requires_grad_(True)
        self.names = {module: name for name, module in network.named_modules()}
        graph = torch_pruning.DependencyGraph()
        try:
            self.graph = graph.build_dependency(network, example_inputs=example, verbose=False)
        except Exception as error:  # of torch-pruning's or of the network's own code, which both may raise anything
            raise ReflowError(f"The coupled channels could not be determined ({str(error)[:200]}).") from error
        self.kept = [] if classifier is None else [network.get_submodule(classifier)]

    def groups(self) -> list[Group]:
        """All groups, in the order in which the graph finds them."""
        return [self._described(group) for group in self.graph.get_all_groups(ignored_layers=self.kept)]

    def cut(self, gone: Gone) -> None:
        """Take channels out, by group name."""
        for name, channels in gone.items():
            if channels:
                self._group(name, channels).prune()
        self.network.requires_grad_(False)

    def makers(self, gone: Gone) -> list[Member]:
        """Every layer that makes some of these channels, with what is gone of it."""
        groups = [self._described(self._group(name, channels)) for name, channels in gone.items() if channels]
        return [member for group in groups for member in group.members if member.side == "out"]

    def _group(self, name: str, channels: Sequence[int]) -> torch_pruning.Group:
        root = self.network.get_submodule(name)
        prune = self.graph.get_pruner_of_module(root).prune_out_channels
        return self.graph.get_pruning_group(root, prune, idxs=list(channels))

    def _described(self, group: torch_pruning.Group) -> Group:
        root = group[0].dep.target.module
        members = [
            Member(self.names[module], _kind(module), _side(dependency.handler.__name__), tuple(channels))
            for dependency, channels in group
            if (module := dependency.target.module) in self.names
        ]
        grouped = [self.network.get_submodule(member.layer) for member in members if member.kind.startswith("Conv")]
        blocks = max((int(getattr(module, "groups", 1)) for module in grouped), default=1)
        return Group(self.names[root], len(group[0].idxs), tuple(dict.fromkeys(members)), blocks=blocks)


def _kind(module: nn.Module) -> str:
    """A layer's class; "depthwise" for a convolution that gives each channel on by itself."""
    groups = getattr(module, "groups", 1)
    return "depthwise" if groups > 1 and groups == getattr(module, "in_channels", 0) else type(module).__name__


def _side(handler: str) -> str:
    return "in" if "in_channels" in handler else "out"


def silence(network: nn.Module, makers: Sequence[Member]) -> None:
    """Set channels to zero wherever they are made, in place; every shape stays."""
    with torch.no_grad():
        for member in makers:
            _zero(network.get_submodule(member.layer), member.channels)


def _zero(module: nn.Module, channels: Sequence[int]) -> None:
    """Make a layer put out zero at these channels."""
    where = list(channels)
    for parameter in (getattr(module, "weight", None), getattr(module, "bias", None)):
        if isinstance(parameter, Tensor):
            transposed = isinstance(module, _ConvTransposeNd) and parameter.ndim > 1
            parameter[(slice(None), where) if transposed else (where,)] = 0


def coupled(network: nn.Module, images: Tensor, classifier: str | None, watch: Watch = ignore) -> list[Group]:
    """The groups of a shared network, each with the reason if its channels cannot be cut out.

    `images` (N, 3, H, W): a few, on which a cut network must give the logits of the one whose channels are silent. All
    groups are tried together first, and one by one only where that fails.
    """
    listed = Cutter(clone_module(network), images[:1], classifier).groups()
    free = {group.name: every_other(group) for group in listed}
    if not difference(network, images, classifier, free):
        return listed
    checked = []
    for place, group in enumerate(listed):
        watch("groups", place, len(listed))
        held = difference(network, images, classifier, {group.name: every_other(group)})
        checked.append(dataclasses.replace(group, held=held))
    return checked


def every_other(group: Group) -> list[int]:
    """Half of the channels, so that a wrong shift between coupled layers shows: it would not with the first alone."""
    return list(range(1, group.channels, 2))


def difference(network: nn.Module, images: Tensor, classifier: str | None, gone: Gone) -> str:
    """How the network without some channels differs from the one in which they are zero, "" if it does not."""
    cut, silent = Cutter(clone_module(network), images[:1], classifier), clone_module(network)
    try:
        silence(silent, cut.makers(gone))
        cut.cut(gone)
        with torch.inference_mode():
            expected, logits = silent(images), cut.network(images)
    except (RuntimeError, ValueError, IndexError) as error:
        return f"the network does not run without them ({str(error).splitlines()[0][:120]})"
    largest = float((expected - logits).abs().max())
    if largest <= TOLERANCE * max(1.0, float(expected.abs().max())):
        return ""
    return f"cutting its channels changes the logits by {significant(largest, 2)}, which zeroing them does not"


def widths(network: nn.Module) -> dict[str, int]:
    """Output channels of every layer that has weights of its own and of every norm, by name."""
    channels = {}
    for name, module in network.named_modules():
        if isinstance(module, PRUNABLE):
            channels[name] = int(getattr(module, "out_channels", getattr(module, "out_features", 0)))
        elif is_norm(module) and isinstance(getattr(module, "weight", None), Tensor):
            channels[name] = len(module.get_parameter("weight"))
    return channels


def mismatches(network: nn.Module, dense: nn.Module, groups: Sequence[Group], kept: Mapping[str, int]) -> Iterator[str]:
    """A sentence for every layer that has not lost as much as its group has, by name: what a broadcast would hide.

    `dense`: the network before the cut. `kept`: channels that each group has left.
    """
    expected: dict[tuple[str, str], int] = {}
    for group in groups:
        for member in group.members:
            if (before := _width(dense.get_submodule(member.layer), member.side)) is not None:
                lost = (group.channels - kept[group.name]) * len(member.channels) // group.channels
                at = member.layer, member.side
                expected[at] = expected.get(at, before) - lost
    for (layer, side), left in expected.items():
        width = _width(network.get_submodule(layer), side)
        if width != left:
            yield f"{layer} {'outputs' if side == 'out' else 'expects'} {width} channels, but {left} remain"


def _width(module: nn.Module, side: str) -> int | None:
    """Channels on one side of a layer, as its weight has them; None where that is not one number."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return None
    if weight.ndim == 1:
        return len(weight)
    if isinstance(module, _ConvTransposeNd):
        side = "in" if side == "out" else "out"
    if side == "in" and getattr(module, "groups", 1) > 1:
        return None
    return int(weight.shape[0 if side == "out" else 1])
