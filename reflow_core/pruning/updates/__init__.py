"""Updates: one function a file, from masks to new values of the weights that are left, before any repair.

An update never brings a removed weight back, and reads no signal of the pruned network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reflow_core.pruning.criteria import Subject
from reflow_core.pruning.masks import Masks, Weights
from reflow_core.registry import Info, Registry, import_siblings


@dataclass(frozen=True, slots=True)
class UpdateInfo(Info):
    """`needs_data`: reads calibration images."""

    needs_data: bool = False


# New weights by layer name, zero where the mask is False.
Update = Callable[[Subject, Masks], Weights]
updates: Registry[UpdateInfo, Update] = Registry("update")
import_siblings(__name__, list(__path__))
