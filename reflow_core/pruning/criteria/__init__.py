"""Pruning criteria: one function a file, from a subject to one score a weight, higher is kept.

A criterion never decides how much of a layer goes (that is the allocation's) and never changes a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from reflow_core.errors import ReflowError
from reflow_core.pruning.masks import Masks, Scores, Weights
from reflow_core.registry import Info, Registry, import_siblings
from reflow_core.watch import Watch, ignore


@dataclass(frozen=True, slots=True)
class CriterionInfo(Info):
    """`needs_data`: reads calibration images. `per_sparsity`: chooses anew at every sparsity and returns masks.

    `comparison`: which weights compete, "global" (all) or "row" (those of one output).
    """

    needs_data: bool = False
    per_sparsity: bool = False
    comparison: str = "global"


@dataclass(frozen=True, slots=True)
class Samples:
    """Calibration images as the network reads them (N, 3, H, W) and their classes (N,), None without labels."""

    inputs: Tensor
    labels: Tensor | None

    @property
    def classes(self) -> Tensor:
        """The classes (N,). Raises ReflowError without labels."""
        if self.labels is None:
            raise ReflowError("Gradients need labeled training images, and these have no labels; choose magnitude.")
        return self.labels


@dataclass(frozen=True, slots=True)
class Limits:
    """What a method that chooses at one sparsity has to keep to.

    `masks`: the masks (True: kept) that scores give within the budget, at a fraction of its sparsity if one is given.
    `pools`: for each weight the number of the budget it belongs to; exchanges within a pool keep to the limits.
    """

    sparsity: float
    masks: Callable[[Scores, float], Masks]
    pools: Callable[[Weights], dict[str, Tensor]]


def absent() -> Any:
    """Stands where no calibration images were given. Raises ReflowError."""
    raise ReflowError("This method needs calibration images: pass batches, or put labeled images under train/.")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a criterion looks at: the dense network (read only), its prunable weights by layer, and the spec's seed.

    `samples`: calibration images; raises ReflowError where there are none. `gradients`: each sample's
    gradient (N, weights), made once and shared. `example`: one network input (1, 3, H, W).
    `limits`: only for methods that choose anew at every sparsity.
    """

    network: nn.Module
    weights: Weights
    seed: int
    samples: Callable[[], Samples] = absent
    gradients: Callable[[], Tensor] = absent
    example: Tensor | None = None
    limits: Limits | None = None
    watch: Watch = ignore


# Scores, one a weight, higher is kept; a method flagged `per_sparsity` returns masks instead (True: kept).
Criterion = Callable[[Subject], Weights]
criteria: Registry[CriterionInfo, Criterion] = Registry("criterion")
import_siblings(__name__, list(__path__))
