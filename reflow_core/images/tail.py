"""A long tail: classes that get rarer exponentially (Cao et al., arXiv 1906.07413, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor


def long_tail(labels: Tensor, ratio: float) -> Tensor:
    """Which of the images (N,) to keep so that the last class is `ratio` times as rare as the first.

    Class k of K, by index, keeps the share ratio^(−k/(K−1)) of its images, its first ones, at least one.
    """
    kept = torch.zeros(len(labels), dtype=torch.bool)
    there = labels.unique().tolist()
    for place, label in enumerate(there):
        own = (labels == label).nonzero().flatten()
        share = ratio ** (-place / max(1, len(there) - 1))
        kept[own[: max(1, round(share * len(own)))]] = True
    return kept.nonzero().flatten()
