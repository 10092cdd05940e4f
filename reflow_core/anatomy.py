"""The order in which a network runs: which layers can be measured, and which weights feed them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reflow_core.models.info import PRUNABLE, is_norm
from reflow_core.private import hookable


@dataclass(frozen=True, slots=True)
class Site:
    """A place where the signal is measured: a norm (or, in a network without norms, a weight layer).

    `weights`: the weight layer whose output it receives unchanged, None where something lies between.
    """

    name: str
    kind: str
    weights: str | None


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Sites in the order of execution, first and last weight layer, and what cannot be measured and why."""

    sites: tuple[Site, ...]
    first: str | None
    classifier: str | None
    unmeasured: tuple[tuple[str, str], ...]


def anatomy(network: nn.Module, example: Tensor) -> Anatomy:
    """Trace one forward pass of a private copy on `example` (1, C, H, W)."""
    private = hookable(network)
    names: dict[nn.Module, str] = {
        module: name for name, module in private.named_modules() if is_norm(module) or isinstance(module, PRUNABLE)
    }
    calls = _trace(private, list(names), example)
    counts = Counter(module for module, _ in calls)
    norms: list[nn.Module] = [module for module in names if is_norm(module)]
    measured = norms or [module for module in names if isinstance(module, PRUNABLE)]
    unmeasured = [(names[module], "never called in a forward pass") for module in measured if not counts[module]]
    unmeasured += [
        (names[module], f"called {counts[module]} times in a pass, so its statistics mix different signals")
        for module in measured
        if counts[module] > 1
    ]
    unmeasured += [
        (name, f"a {type(module).__name__} is none of the norms that the lab knows")
        for name, module in private.named_modules()
        if "norm" in type(module).__name__.lower() and module not in names and not list(module.children())
    ]
    sites = tuple(
        Site(names[module], type(module).__name__, _feeder(module, source, names))
        for module, source in calls
        if module in measured and counts[module] == 1
    )
    executed = [names[module] for module, _ in calls if isinstance(module, PRUNABLE)]
    first, last = (executed[0], executed[-1]) if executed else (None, None)
    return Anatomy(sites, first, last, tuple(unmeasured))


def _feeder(module: nn.Module, source: nn.Module | None, names: dict[nn.Module, str]) -> str | None:
    if isinstance(module, PRUNABLE):
        return names[module]
    return names[source] if source is not None else None


def _trace(network: nn.Module, modules: list[nn.Module], example: Tensor) -> list[tuple[nn.Module, nn.Module | None]]:
    """Every call of `modules` in order, each with the weight layer whose very output was its input.

    Every output is kept until the end, so that no storage is given to another tensor meanwhile.
    """
    calls: list[tuple[nn.Module, nn.Module | None]] = []
    outputs: list[tuple[Tensor, nn.Module]] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        here = inputs[0].data_ptr()
        same = [giver for tensor, giver in outputs if tensor.data_ptr() == here and tensor.numel() == inputs[0].numel()]
        calls.append((module, same[-1] if same else None))
        if isinstance(module, PRUNABLE):
            outputs.append((output, module))

    hook: Callable[..., None] = record
    for module in modules:
        module.register_forward_hook(hook)
    with torch.inference_mode():
        network(example)
    return calls
