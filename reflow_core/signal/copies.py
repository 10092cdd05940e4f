"""Copies of a shared network, and hooks and modes that are put back whatever happens."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from reflow_core.machine import cloned
from reflow_core.watch import Watch

PreHook = Callable[[nn.Module, tuple[Tensor, ...]], None]
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


def clone_module(network: nn.Module) -> nn.Module:
    """A deep copy that one thread may prune, hook and recalibrate."""
    tensors = list(_tensors(network))
    copies: dict[int, Any] = {
        id(tensor): nn.Parameter(clone, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else clone
        for tensor, clone in zip(tensors, cloned(tensors), strict=True)
    }
    return _modules(network, copies)


def shallow_clone(network: nn.Module) -> nn.Module:
    """A copy of the modules over the same tensors: one thread may hook it and read, but change no tensor."""
    return _modules(network, {id(tensor): tensor for tensor in _tensors(network)})


def clone_on(network: nn.Module, device: str | torch.device) -> nn.Module:
    """The network on a device, to be hooked and read by one thread."""
    here = torch.device(device) == device_of(network)
    return shallow_clone(network) if here else clone_module(network).to(device)


def device_of(network: nn.Module) -> torch.device:
    """Where a network lies: as its first parameter or buffer, or on the CPU without any."""
    first = next(itertools.chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and what else a module holds, as the product that torch.nn.utils.prune keeps; each once."""
    seen: set[int] = set()
    for module in network.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, Tensor) and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def _modules(network: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy with the tensors of `memo`; the many empty dictionaries of hooks are made here, in half the time."""
    for module in network.modules():
        memo |= {id(value): type(value)() for value in vars(module).values() if isinstance(value, dict) and not value}
    return copy.deepcopy(network, memo)


@contextmanager
def hooked(
    network: nn.Module, before: Mapping[str, PreHook] | None = None, after: Mapping[str, Hook] | None = None
) -> Iterator[None]:
    """Forward pre-hooks and forward hooks by module name, for as long as the body runs."""
    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_pre_hook(hook) for name, hook in (before or {}).items()]
    handles += [modules[name].register_forward_hook(hook) for name, hook in (after or {}).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watched(network: nn.Module, watch: Watch, stage: str, images: int, passes: int = 1) -> Iterator[None]:
    """Calls `watch` before each layer with parameters, for as long as `images` pass in `passes` batches in the body."""
    layers = [
        name for name, module in network.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    calls, most = itertools.count(), len(layers) * passes

    def tell(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        watch(stage, images * min(next(calls), most) // most, images)

    with hooked(network, dict.fromkeys(layers, tell)):
        yield


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode for as long as the body runs; every module's mode and every gradient flag is put back afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in flags:
            parameter.requires_grad_(wanted)
