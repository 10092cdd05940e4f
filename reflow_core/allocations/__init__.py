"""Allocations: one function a file, from scores and a sparsity to masks. How much each layer loses is decided here."""

from __future__ import annotations

from collections.abc import Callable

from reflow_core.pruning import Masks, Scores
from reflow_core.registry import Registry, import_siblings

Allocation = Callable[[Scores, float], Masks]
allocations: Registry[Allocation] = Registry("allocation")
import_siblings(__name__, list(__path__))
