"""Ridge regression of a layer's filters, each on its own support, from the normal equations: nothing is refitted twice.

G: groups of the layer, f: filters of a group, d: inputs of a filter, n: samples.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # shares of the mean diagonal of XᵀX
USUAL = RIDGES.index(0.1)
JUDGED = 16  # filters of a layer by which its ridge is chosen
SUMMED = 2048  # samples whose products are summed in float32
BLOCK = 1 << 22  # entries of the matrices that are solved together
TINY = 1e-30


@dataclass(frozen=True, eq=False, slots=True)
class Normal:
    """XᵀX (G, d, d) and yᵀX (G, f, d) of some samples in float64: sums of float32 products of SUMMED at a time."""

    gram: Tensor
    pull: Tensor

    @classmethod
    def of(cls, read: Tensor, wanted: Tensor) -> Normal:
        """Of inputs (G, n, d) and outputs (n, G·f)."""
        outputs = torch.unflatten(wanted, 1, (len(read), -1)).movedim(1, 0)
        gram = torch.zeros(len(read), read.shape[2], read.shape[2], dtype=torch.float64)
        pull = torch.zeros(len(read), outputs.shape[2], read.shape[2], dtype=torch.float64)
        for some, out in zip(read.split(SUMMED, 1), outputs.split(SUMMED, 1), strict=True):
            gram += some.mT @ some
            pull += out.mT @ some
        return cls(gram, pull)

    def __add__(self, other: Normal) -> Normal:
        return Normal(self.gram + other.gram, self.pull + other.pull)

    def error(self, weights: Tensor) -> float:
        """‖X w − y‖² − ‖y‖², summed over the filters (G, f, d)."""
        return float((weights @ self.gram * weights - 2 * self.pull * weights).sum())

    def some(self) -> tuple[Tensor, Tensor]:
        """The numbers of JUDGED filters spread evenly over the layer: groups (G', 1) and filters (f',)."""
        groups, filters = self.pull.shape[:2]
        chosen = spread(groups, JUDGED)
        return chosen[:, None], spread(filters, max(1, JUDGED // len(chosen)))


def spread(count: int, most: int) -> Tensor:
    """At most `most` of the numbers under `count`, evenly."""
    return torch.linspace(0, count - 1, min(count, most)).long()


def best_ridge(weights: Tensor, fit: Normal, held: Normal) -> float:
    """The one of RIDGES whose filters, solved on `fit`, have the least error on `held`.

    From a usual one up or down, as long as the error falls; of equal errors the larger one's. Judged by some filters
    only, for it costs a solution each.
    """
    groups, filters = fit.some()
    fewer = [Normal(each.gram[groups[:, 0]], each.pull[groups, filters]) for each in (fit, held)]

    @functools.cache
    def error(at: int) -> float:
        return fewer[1].error(solved(weights[groups, filters], fewer[0], RIDGES[at]))

    best = USUAL
    while best > 0 and error(best - 1) <= error(best):
        best -= 1
    while best >= USUAL and best + 1 < len(RIDGES) and error(best + 1) < error(best):
        best += 1
    return RIDGES[best]


def solved(weights: Tensor, normal: Normal, ridge: float) -> Tensor:
    """Filters (G, f, d) in float64, each re-fitted where it is not 0: (G_SS + λI) w_S = X_Sᵀy + λ w_S⁰.

    λ = `ridge` times the mean diagonal of the group's XᵀX. Where nothing arrives it stays w⁰.
    """
    groups, filters = weights.shape[:2]
    flat, pull = weights.double().flatten(0, 1), normal.pull.flatten(0, 1)
    group = torch.arange(groups).repeat_interleave(filters)
    strength = (ridge * normal.gram.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(TINY)[group, None]
    kept = flat != 0
    for some in portions(kept.sum(1)):
        places = kept[some].byte().argsort(dim=1, descending=True, stable=True)[:, : int(kept[some[-1]].sum())]
        there, before = kept[some].gather(1, places), flat[some].gather(1, places)
        matrix = torch.stack(
            [
                normal.gram[own].index_select(0, at).index_select(1, at)
                for own, at in zip(group[some].tolist(), places, strict=True)
            ]
        )
        matrix *= there[:, :, None] & there[:, None, :]  # filters with fewer weights are filled up by an identity
        matrix.diagonal(dim1=1, dim2=2).add_(torch.where(there, strength[some], 1.0))
        right = (pull[some].gather(1, places) + strength[some] * before) * there
        new = torch.cholesky_solve(right[..., None], torch.linalg.cholesky_ex(matrix).L)[..., 0]
        flat[some] = flat[some].scatter(1, places, torch.where(new.isfinite(), new, before))
    return flat.view_as(weights)


def portions(counts: Tensor) -> Iterator[Tensor]:
    """The numbers of all filters with weights, ascending in how many they have, in portions of about BLOCK entries."""
    order = counts.argsort()
    end = len(order)
    while end and (width := int(counts[order[end - 1]])):
        start = max(0, end - max(1, BLOCK // width**2))
        yield order[start:end]
        end = start
