"""The form in which a network runs quickest on this machine: norms folded, images laid out as its processor likes them.

Every value stays float32; predictions differ by rounding only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from reflow_core.machine import fingerprint
from reflow_core.places import cache_folder
from reflow_core.signal.copies import device_of
from reflow_core.signal.fold import Folds, foldable, folded
from reflow_core.signal.predictions import logits_of
from reflow_core.signal.trace import Trace

LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
RACED = 8  # images
ROUNDS = 3
WORTH = 0.97  # of the time in the usual layout


@dataclass(frozen=True, eq=False, slots=True)
class Form:
    """How a network runs: the norms that are folded, each with its layer by name, and the layout of (N, C, H, W)."""

    folds: Folds = field(default_factory=dict)
    layout: torch.memory_format = torch.contiguous_format

    def of(self, network: nn.Module) -> nn.Module:
        """A copy in this form, which one thread may hook and read."""
        return laid_out(folded(network, self.folds), self.layout)


AS_IT_IS = Form()


def lay_out(network: nn.Module, layout: torch.memory_format) -> nn.Module:
    """A private network, its own weights of two-dimensional convolutions now in a layout."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


def laid_out(copy: nn.Module, layout: torch.memory_format) -> nn.Module:
    """A copy of modules, its weights of two-dimensional convolutions now in a layout; all others stay shared."""
    for module in copy.modules():
        weight = module._parameters.get("weight")
        if layout != torch.contiguous_format and weight is not None and weight.ndim == 4:
            module.weight = nn.Parameter(weight.detach().contiguous(memory_format=layout), requires_grad=False)
    return copy


def quickest(network: nn.Module, trace: Trace, inputs: Callable[[slice], Tensor], remember: bool) -> Form:
    """The form of a network for the like of these images; the race is run once a machine if it may `remember`."""
    images = inputs(slice(0, RACED)).to(device_of(network))
    folds = foldable(network, trace.sites, images[:1])
    race = lambda: winner(network, images)  # noqa: E731
    return Form(folds, LAYOUTS[remembered(_kind(network, images), race) if remember else race()])


def winner(network: nn.Module, images: Tensor) -> str:
    """The layout in which a pass over images (N, C, H, W) takes the least time."""
    runners = {name: laid_out(folded(network, {}), layout) for name, layout in LAYOUTS.items()}
    times = dict.fromkeys(LAYOUTS, float("inf"))
    with torch.inference_mode():
        for attempt in range(ROUNDS):
            for name, runner in runners.items():
                arriving = images.contiguous(memory_format=LAYOUTS[name])
                begun = time.perf_counter()
                logits_of(runner(arriving)).cpu()  # which waits for an accelerator
                if attempt:
                    times[name] = min(times[name], time.perf_counter() - begun)
    usual, other = LAYOUTS
    return other if times[other] < WORTH * times[usual] else usual


def _kind(network: nn.Module, images: Tensor) -> str:
    """What a winner is remembered for: machine and device, the shapes of weights and images."""
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    about = f"{fingerprint()}|{device_of(network)}|{shapes}|{tuple(images.shape[1:])}"
    return hashlib.sha256(about.encode()).hexdigest()


def remembered(kind: str, race: Callable[[], str]) -> str:
    """The winner of an earlier race of this kind, or of one that is run now and kept in the cache folder."""
    path = cache_folder() / "layouts.json"
    if (known := _read(path).get(kind)) in LAYOUTS:
        return str(known)
    won = race()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs another race
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({**_read(path), kind: won}))
        part.replace(path)
    return won


def _read(path: Path) -> Mapping[str, str]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
