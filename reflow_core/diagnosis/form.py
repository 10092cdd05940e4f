"""The form in which a network runs quickest on this machine: norms folded, images laid out as its processor likes them.

Every value stays float32; predictions differ by rounding only. A preview alone is computed in bfloat16.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
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
ROUNDS, RACE_S = 3, 0.5  # of a race: most rounds, and seconds after which there is none more
WORTH = 0.97  # of the time in the usual layout
WORTH_A_PREVIEW = 0.7  # of the time in float32
FLOAT32, BFLOAT16 = "float32", "bfloat16"


@dataclass(frozen=True, eq=False, slots=True)
class Form:
    """How a network runs: the norms that are folded, each with its layer by name, and the layout of (N, C, H, W).

    `half`: whether layers compute in bfloat16, for a preview.
    """

    folds: Folds = field(default_factory=dict)
    layout: torch.memory_format = torch.contiguous_format
    half: bool = False

    def of(self, network: nn.Module) -> nn.Module:
        """A copy in this form, which one thread may hook and read."""
        return laid_out(folded(network, self.folds), self.layout)


def precision(device: torch.device, half: bool) -> contextlib.AbstractContextManager[None]:
    """In whose body layers compute in bfloat16 if `half`, else in float32; parameters stay as they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


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
    return Form(folds, LAYOUTS[remembered(_kind(network, images), race, LAYOUTS) if remember else race()])


def winner(network: nn.Module, images: Tensor) -> str:
    """The layout in which a pass over images (N, C, H, W) takes the least time."""
    return _quicker(network, images, {name: Form(layout=layout) for name, layout in LAYOUTS.items()}, WORTH)


def half_pays(network: nn.Module, form: Form, inputs: Callable[[slice], Tensor], remember: bool) -> bool:
    """Whether layers of a network take much less time in bfloat16 than in float32; raced and remembered likewise."""
    images = inputs(slice(0, RACED)).to(device_of(network))
    forms = {FLOAT32: form, BFLOAT16: replace(form, half=True)}
    race = lambda: _quicker(network, images, forms, WORTH_A_PREVIEW)  # noqa: E731
    return (remembered(_kind(network, images, BFLOAT16), race, forms) if remember else race()) == BFLOAT16


def _quicker(network: nn.Module, images: Tensor, forms: Mapping[str, Form], worth: float) -> str:
    """Which of two forms: the second where a pass over images (N, C, H, W) takes less than `worth` of the first's."""
    runners = {name: form.of(network) for name, form in forms.items()}
    times = dict.fromkeys(forms, float("inf"))
    for name, form in forms.items():
        _seconds(runners[name], images[:1], form)  # a warm-up
    started = time.perf_counter()
    for attempt in range(ROUNDS):
        if attempt and time.perf_counter() - started > RACE_S:
            break
        for name, form in forms.items():
            times[name] = min(times[name], _seconds(runners[name], images, form))
    usual, other = forms
    return other if times[other] < worth * times[usual] else usual


def _seconds(runner: nn.Module, images: Tensor, form: Form) -> float:
    """What a pass takes."""
    arriving = images.contiguous(memory_format=form.layout)
    begun = time.perf_counter()
    with torch.inference_mode(), precision(images.device, form.half):
        logits_of(runner(arriving)).cpu()  # which waits for an accelerator
    return time.perf_counter() - begun


def _kind(network: nn.Module, images: Tensor, precision: str = FLOAT32) -> str:
    """What a winner is remembered for: machine and device, the shapes of weights and images, what is raced."""
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    about = f"{fingerprint()}|{device_of(network)}|{shapes}|{tuple(images.shape[1:])}|{precision}"
    return hashlib.sha256(about.encode()).hexdigest()


def remembered(kind: str, race: Callable[[], str], among: Collection[str]) -> str:
    """The winner of an earlier race of this kind, or of one that is run now and kept in the cache folder."""
    path = cache_folder() / "layouts.json"
    if (known := _read(path).get(kind)) in among:
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
