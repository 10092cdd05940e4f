"""reflow_core: why a pruned network fails and what repairs it, for anybody's network and without a browser.

The small core works on any `nn.Module` and needs torch and numpy only: `prune`, `reflow`, `layer_statistics`, `repair`.
The lab around it knows networks and images by name: `diagnose(Spec(…), Library())` and `inspect`. Everything is
imported where it is first used, so that a page can be drawn before torch is there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reflow_core.diagnosis.diagnose import diagnose
    from reflow_core.diagnosis.result import Diagnosis
    from reflow_core.production.finding import Finding
    from reflow_core.production.inspections import inspect
    from reflow_core.pruning.prune import prune
    from reflow_core.repairs.reflow import reflow
    from reflow_core.repairs.repair import repair
    from reflow_core.signal.layer_statistics import layer_statistics
    from reflow_core.sources.library import Library
    from reflow_core.spec import Spec

__version__ = "0.1.0"
__all__ = [
    "Diagnosis", "Finding", "Library", "Spec", "diagnose", "inspect", "layer_statistics", "prune", "reflow", "repair",
]  # fmt: skip

_HOMES = {
    "Diagnosis": "diagnosis.result",
    "Finding": "production.finding",
    "Library": "sources.library",
    "Spec": "spec",
    "diagnose": "diagnosis.diagnose",
    "inspect": "production.inspections",
    "layer_statistics": "signal.layer_statistics",
    "prune": "pruning.prune",
    "reflow": "repairs.reflow",
    "repair": "repairs.repair",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
