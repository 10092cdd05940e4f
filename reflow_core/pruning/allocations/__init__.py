"""Allocations: one function a file, from scores and a budget to masks. How much each layer loses is decided here.

An allocation never scores a weight itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reflow_core.pruning.masks import Masks, Scores
from reflow_core.registry import Info, Registry, import_siblings


@dataclass(frozen=True, slots=True)
class AllocationInfo(Info):
    """`comparison`: which weights compete, "global" (all) or "layer". `reads`: fields of the spec only it reads."""

    comparison: str = "global"
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """`sparsity`: fraction of all weights together. `layers`: fractions of single layers, for those that read them."""

    sparsity: float
    layers: Mapping[str, float] = field(default_factory=dict)


Allocation = Callable[[Scores, Budget], Masks]
allocations: Registry[AllocationInfo, Allocation] = Registry("allocation")
import_siblings(__name__, list(__path__))
