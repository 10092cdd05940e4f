"""The Optimal Brain Surgeon's update: the weights that are left make up for those removed."""

from __future__ import annotations

from reflow_core.pruning.criteria import Subject
from reflow_core.pruning.curvature import Quadratic, joined, split
from reflow_core.pruning.masks import Masks, Weights
from reflow_core.pruning.updates import UpdateInfo, updates


@updates.register(
    UpdateInfo(
        "obs",
        "OBS update",
        "Move the remaining weights so that the loss rises least, using a block-diagonal empirical Fisher: the "
        "joint optimum for all removed weights. WoodFisher's own code sums the updates of the single weights "
        "instead. The damping, 3 % of the mean diagonal, is not tuned, so the signal may be amplified.",
        "Hassibi and Stork, 1992; arXiv 2004.14340; arXiv 2203.04466; arXiv 2302.14623",
        needs_data=True,
    )
)
def obs(subject: Subject, masks: Masks) -> Weights:
    """Per block of the empirical Fisher, w_S + F_SS⁻¹ F_SQ w_Q with S kept and Q removed."""
    model = Quadratic(subject.gradients(), subject.weights, subject.watch)
    return split(model.optimum(joined(masks)), subject.weights)
