"""Closed-form similarity and separability of representations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Similarity = Callable[[Floats, Floats], Floats]


def cka(x: Floats, y: Floats) -> Floats:
    """Debiased linear CKA of representations (…, n, C) and (…, n, D) of the same n images; 1 is alike, 0 unrelated.

    Computed in feature space (Kornblith et al., arXiv 1905.00414; debiasing after Song et al. 2012). The debiased
    estimate may be slightly negative. NaN where either side is constant or n < 4. Returns (…).
    """
    if x.shape[-2] < 4:
        return np.full(x.shape[:-2], np.nan)
    x, y = x - x.mean(-2, keepdims=True), y - y.mean(-2, keepdims=True)
    own_x, own_y = (np.where((own := _hsic(side, side)) > 0, own, np.nan) for side in (x, y))
    return np.asarray(_hsic(x, y) / (np.sqrt(own_x) * np.sqrt(own_y)))


def _hsic(x: Floats, y: Floats) -> Floats:
    """Unbiased HSIC of centerd features with linear kernels, up to the factor n(n-3)."""
    n = x.shape[-2]
    rows_x, rows_y = (np.einsum("...nc,...nc->...n", side, side) for side in (x, y))
    if min(x.shape[-1], y.shape[-1]) > n:  # ‖XᵀY‖² = Σ XXᵀ∘YYᵀ, on the smaller side
        cross = (_product(x, x.swapaxes(-1, -2)) * _product(y, y.swapaxes(-1, -2))).sum((-2, -1))
    else:
        cross = np.square(_product(x.swapaxes(-1, -2), y)).sum((-2, -1))
    both = rows_x.sum(-1) * rows_y.sum(-1)
    return np.asarray(cross - n / (n - 2) * (rows_x * rows_y).sum(-1) + both / ((n - 1) * (n - 2)))


def _product(x: Floats, y: Floats) -> Floats:
    """Of stacks of matrices, by torch, whose library is several times as fast at it as numpy's."""
    product: Floats = (torch.from_numpy(x) @ torch.from_numpy(y)).numpy()
    return product


def cosine(x: Floats, y: Floats) -> Floats:
    """Mean over images of the cosine between rows, (…, n, C) -> (…). NaN where a row of either is zero."""
    dot, own_x, own_y = (np.einsum("...nc,...nc->...n", one, other) for one, other in ((x, y), (x, x), (y, y)))
    lengths = np.sqrt(own_x) * np.sqrt(own_y)
    return np.asarray((dot / np.where(lengths > 0, lengths, np.nan)).mean(-1))


def separability(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Leave-one-out accuracy (fraction) of the nearest class mean on features (n, C): what the classes are still worth.

    Each feature is first scaled to unit standard deviation, so a signal that only shrank scores as before. Classes with
    one image are left out; NaN where fewer than two classes remain.
    """
    counts = np.bincount(labels)
    keep = counts[labels] > 1
    x, y = features[keep], labels[keep]
    classes = np.unique(y)
    if len(classes) < 2:
        return math.nan
    std = x.std(0)
    x = (x - x.mean(0)) / np.where(std > 0, std, 1)
    means = np.stack([x[y == label].mean(0) for label in classes])
    distance = ((x[:, None] - means[None]) ** 2).sum(2)
    own = np.searchsorted(classes, y)
    # Without the image itself its class mean m moves to m - (x - m) / (n - 1): the distance grows by (n / (n - 1))².
    size = counts[y].astype(float)
    rows = np.arange(len(x))
    distance[rows, own] *= (size / (size - 1)) ** 2
    return float((distance.argmin(1) == own).mean())
