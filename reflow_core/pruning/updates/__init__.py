"""Updates: one function a file, from masks to new values of the weights that are left, before any repair."""

from __future__ import annotations

from collections.abc import Callable

from reflow_core.pruning.criteria import Subject
from reflow_core.pruning.masks import Masks, Weights
from reflow_core.registry import Registry, import_siblings

# New weights by layer name, zero where the mask is False.
Update = Callable[[Subject, Masks], Weights]
updates: Registry[Update] = Registry("update")
import_siblings(__name__, list(__path__))
