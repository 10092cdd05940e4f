"""reflow_core: why a pruned network fails and what repairs it, for anybody's network and without a browser.

The small core works on any `nn.Module` and needs torch and numpy only: `prune`, `reflow`, `layer_statistics`, `repair`.
The lab around it knows networks and images by name: `diagnose(Spec(…), Library())` and `inspect`. What is heavier than
torch is imported where it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from reflow_core.pruning.prune import prune
from reflow_core.repairs.reflow import reflow
from reflow_core.repairs.repair import repair
from reflow_core.signal.layer_statistics import layer_statistics
from reflow_core.spec import Spec

if TYPE_CHECKING:
    from reflow_core.diagnosis.diagnose import diagnose
    from reflow_core.diagnosis.result import Diagnosis
    from reflow_core.production.finding import Finding
    from reflow_core.production.inspections import inspect
    from reflow_core.sources.library import Library

__version__ = "0.1.0"
__all__ = [
    "Diagnosis", "Finding", "Library", "Spec", "diagnose", "inspect", "layer_statistics", "prune", "reflow", "repair",
]  # fmt: skip

_HEAVIER = {
    "Diagnosis": "reflow_core.diagnosis.result",
    "Finding": "reflow_core.production.finding",
    "Library": "reflow_core.sources.library",
    "diagnose": "reflow_core.diagnosis.diagnose",
    "inspect": "reflow_core.production.inspections",
}


def __getattr__(name: str) -> object:
    if name not in _HEAVIER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HEAVIER[name]), name)
