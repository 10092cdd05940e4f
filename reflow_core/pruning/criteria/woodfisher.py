"""WoodFisher: the Optimal Brain Surgeon's saliency with the block-wise inverse of the empirical Fisher."""

from __future__ import annotations

import torch

from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.curvature import blocks, damping, inverse_diagonal, joined, split
from reflow_core.pruning.masks import Weights


@criteria.register(
    CriterionInfo(
        "woodfisher",
        "WoodFisher",
        "Keep the weights whose removal raises the loss most even after the others compensate: w² / diag(F⁻¹). "
        "One shot; the damping, 3 % of F's mean diagonal, is not tuned.",
        "Singh and Alistarh, arXiv 2004.14340",
        needs_data=True,
    )
)
def woodfisher(subject: Subject) -> Weights:
    """w_q² / (2 [F⁻¹]_qq), F the empirical Fisher of calibration images in blocks within layers (eqs. 4 and 7)."""
    gradients, parts = subject.gradients(), blocks(subject.weights)
    damp = damping(gradients)
    diagonals = []
    for number, part in enumerate(parts):
        subject.watch("scores", number, len(parts))
        diagonals.append(inverse_diagonal(gradients[:, part], damp))
    scores = joined(subject.weights).double().square() / (2 * torch.cat(diagonals))
    return split(scores.float(), subject.weights)
