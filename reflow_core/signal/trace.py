"""The order in which a network runs: which layers can be measured, which weights feed them, what each costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from reflow_core.signal.copies import device_of, shallow_clone
from reflow_core.signal.layers import PRUNABLE, is_norm


@dataclass(frozen=True, slots=True)
class Site:
    """A place where the signal is measured: a norm (or, in a network without norms, a weight layer).

    `weights`: the weight layer whose output it receives unchanged, None where something lies between.
    """

    name: str
    kind: str
    weights: str | None


@dataclass(frozen=True, slots=True)
class WeightLayer:
    """A layer that can be pruned: its class, its number of weights, and its multiply-adds for one image."""

    name: str
    kind: str
    weights: int
    multiply_adds: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Sites and weight layers in the order of execution, and what cannot be measured and why."""

    sites: tuple[Site, ...]
    layers: tuple[WeightLayer, ...]
    unmeasured: tuple[tuple[str, str], ...]

    @property
    def first(self) -> str | None:
        """The first weight layer that runs."""
        return self.layers[0].name if self.layers else None

    @property
    def classifier(self) -> str | None:
        """The last weight layer that runs."""
        return self.layers[-1].name if self.layers else None

    @property
    def multiply_adds(self) -> int:
        """Of one image, in convolutions and linear layers; what attention multiplies besides is not counted."""
        return sum(layer.multiply_adds for layer in self.layers)


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """A module's call in a pass: the weight layer whose very output it reads, and its multiply-adds."""

    module: nn.Module
    source: nn.Module | None
    multiply_adds: int


def trace(network: nn.Module, example: Tensor) -> Trace:
    """Follow one forward pass in eval mode on `example` (1, C, H, W); the network itself is left alone."""
    copy = shallow_clone(network).eval()
    names: dict[nn.Module, str] = {
        module: name for name, module in copy.named_modules() if is_norm(module) or isinstance(module, PRUNABLE)
    }
    calls = _calls(copy, list(names), example.to(device_of(copy)))
    counts = Counter(call.module for call in calls)
    norms: list[nn.Module] = [module for module in names if is_norm(module)]
    measured = norms or [module for module in names if isinstance(module, PRUNABLE)]
    sites = tuple(
        Site(names[call.module], type(call.module).__name__, _feeder(call, names))
        for call in calls
        if call.module in measured and counts[call.module] == 1
    )
    unmeasured = {names[module]: why for module in measured if (why := _why_not(counts[module]))}
    return Trace(sites, _weight_layers(calls, names), (*unmeasured.items(), *_strange_norms(copy, names)))


def _why_not(calls: int) -> str:
    if calls == 1:
        return ""
    often = f"called {calls} times per pass, so its statistics mix different signals"
    return often if calls else "never called in a forward pass"


def _strange_norms(network: nn.Module, names: Mapping[nn.Module, str]) -> Iterator[tuple[str, str]]:
    for name, module in network.named_modules():
        kind = type(module).__name__
        if "norm" in kind.lower() and module not in names and not list(module.children()):
            yield name, f"a {kind} is not a norm layer that this lab supports"


def _weight_layers(calls: Sequence[Call], names: Mapping[nn.Module, str]) -> tuple[WeightLayer, ...]:
    """Every weight layer that runs, where it runs last; multiply-adds of all its calls together."""
    spent: dict[nn.Module, int] = {}
    for call in calls:
        if isinstance(call.module, PRUNABLE):
            spent[call.module] = spent.pop(call.module, 0) + call.multiply_adds
    return tuple(
        WeightLayer(names[layer], type(layer).__name__, layer.get_parameter("weight").numel(), cost)
        for layer, cost in spent.items()
    )


def _feeder(call: Call, names: Mapping[nn.Module, str]) -> str | None:
    if isinstance(call.module, PRUNABLE):
        return names[call.module]
    return names[call.source] if call.source is not None else None


def multiply_adds(layer: nn.Module, arriving: Tensor, leaving: Tensor) -> int:
    """Of one call of a weight layer: every weight is used once at every position, of the output or, where the layer is
    transposed, of the input. One product and one sum count as one."""
    if not isinstance(layer, PRUNABLE):
        return 0
    shape = arriving.shape if isinstance(layer, _ConvTransposeNd) else leaving.shape
    positions = shape[:-1].numel() if isinstance(layer, nn.Linear) else shape[0] * shape[2:].numel()
    return layer.weight.numel() * positions


def _calls(network: nn.Module, modules: list[nn.Module], example: Tensor) -> list[Call]:
    """Every call of `modules` in order.

    Every output is kept until the end, so that no storage is given to another tensor meanwhile.
    """
    calls: list[Call] = []
    outputs: list[tuple[Tensor, nn.Module]] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        here = inputs[0].data_ptr()
        same = [giver for tensor, giver in outputs if tensor.data_ptr() == here and tensor.numel() == inputs[0].numel()]
        calls.append(Call(module, same[-1] if same else None, multiply_adds(module, inputs[0], output)))
        if isinstance(module, PRUNABLE):
            outputs.append((output, module))

    hook: Callable[..., None] = record
    for module in modules:
        module.register_forward_hook(hook)
    with torch.inference_mode():
        network(example)
    return calls
