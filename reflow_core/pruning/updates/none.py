"""No update: the weights that are left keep their values."""

from __future__ import annotations

from reflow_core.pruning.criteria import Subject
from reflow_core.pruning.masks import Masked, Masks, Weights
from reflow_core.pruning.updates import UpdateInfo, updates


@updates.register(UpdateInfo("none", "None", "The remaining weights keep their values: selection only.", ""))
def none(subject: Subject, masks: Masks) -> Weights:
    """w where kept, else 0."""
    return Masked(subject.weights, masks)
