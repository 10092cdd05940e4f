"""What is seen, in a few words: network, sparsity, criterion and repair, by the names of their registries."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePath
from typing import Any

from reflow_core.numbers import sparsity_of
from reflow_core.pruning.allocations import allocations
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.patterns import CHANNEL, N_OF_M
from reflow_core.pruning.updates import updates
from reflow_core.registry import Registry
from reflow_core.repairs import repairs
from reflow_core.spec import DEFAULTS, STAGED, Spec, is_upload, parted


def crumbs(spec: Spec, without: Collection[str] = ()) -> tuple[str, ...]:
    """Such as ("resnet20-digits", "80 %", "Magnitude, global", "REFLOW"), as plain text.

    `without`: fields of the spec that say nothing of what is seen. A name that nobody registered stays as it is: a
    report is a stranger's file.
    """
    words = {
        "model": _network(spec),
        "sparsity": _amount(spec),
        "criterion": _selection(spec, without),
        "repair": "no repair" if spec.repair == "none" else _title(repairs, spec.repair),
    }
    return tuple(word for name, word in words.items() if name not in without)


def _network(spec: Spec) -> str:
    architecture, checkpoint = parted(spec.model)
    weights = "uploaded weights" if is_upload(checkpoint) else PurePath(checkpoint).name
    images = "uploaded images" if is_upload(spec.data) else PurePath(spec.data).name
    named = ", ".join(filter(None, (architecture, weights)))
    return named if spec.data == DEFAULTS["data"] else f"{named} on {images}"


def _amount(spec: Spec) -> str:
    if spec.pattern in N_OF_M:
        return spec.pattern
    if spec.allocation == "custom":
        return "sparsity by layer"
    return f"{sparsity_of(spec.sparsity)}" + (", whole channels" if spec.pattern == CHANNEL else "")


def _selection(spec: Spec, without: Collection[str]) -> str:
    update = f" + {_title(updates, spec.update)}" if spec.update != "none" and "update" not in without else ""
    spread = _title(allocations, spec.allocation)
    asked = spec.pattern not in N_OF_M and "allocation" not in without
    stages = ", in stages" if spec.stages == STAGED and "stages" not in without else ""
    return f"{_title(criteria, spec.criterion)}{update}" + (f", {_lower(spread)}" if asked else "") + stages


def _lower(title: str) -> str:
    return title if title.isupper() else title.lower()


def _title(registry: Registry[Any, Any], name: str) -> str:
    return registry[name].info.title if name in registry.names() else name
