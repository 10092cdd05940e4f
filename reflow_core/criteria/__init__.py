"""Pruning criteria: one function a file, from a subject to one score a weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from reflow_core.pruning import Weights
from reflow_core.registry import Registry, import_siblings


@dataclass(frozen=True, slots=True)
class Subject:
    """What a criterion looks at: the dense network (read only), its prunable weights by layer, and the spec's seed."""

    network: nn.Module
    weights: Weights
    seed: int


Criterion = Callable[[Subject], dict[str, Tensor]]
criteria: Registry[Criterion] = Registry("criterion")
import_siblings(__name__, list(__path__))
