"""Combinatorial Brain Surgeon: weights that are good to remove together, by greedy swaps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.curvature import Quadratic, joined, split
from reflow_core.pruning.masks import Scores, Weights

LIST = 4_096  # swaps tried at a time
CHEAPEST = 4 * LIST  # weights considered on either side of a swap
ROUNDS = 40


@criteria.register(
    CriterionInfo(
        "cbs",
        "CBS",
        "Start from magnitude and swap weights while the joint loss of removing them falls. This implementation "
        "swaps lists of pairs within a budget, using a block-diagonal empirical Fisher with untuned damping.",
        "Yu et al., arXiv 2203.04466",
        needs_data=True,
        per_sparsity=True,
    )
)
def cbs(subject: Subject) -> Weights:
    """Masks of the last of `swapped`, which starts from magnitude pruning and keeps to each pool's budget."""
    assert subject.limits is not None
    weights = subject.weights
    model = Quadratic(subject.gradients(), weights, subject.watch)
    magnitudes = {name: weight.abs() for name, weight in weights.items()}
    kept = joined(subject.limits.masks(Scores(magnitudes), subject.limits.sparsity))
    for number, (support, _) in enumerate(swapped(model, kept, joined(subject.limits.pools(weights)))):
        subject.watch("scores", number, ROUNDS + 1)
        kept = support
    return split(kept, weights)


def swapped(model: Quadratic, kept: Tensor, pools: Tensor) -> Iterator[tuple[Tensor, float]]:
    """Supports and their objectives ½ w_Qᵀ F w_Q (Q: removed; Yu et al., 2022, eq. 5), strictly falling.

    Each round pairs, within a pool, the removed weights whose return saves most with the kept ones whose removal
    costs least, and swaps the best pairs; half as many where together they do not help.
    """
    size = LIST
    best, slope = model.value_and_gradient(-model.weights * ~kept)
    yield kept, best
    for _ in range(ROUNDS):
        back, out = pairs(model, slope, kept, pools)
        while size := min(size, len(back)):
            trial = kept.clone()
            trial[back[:size]], trial[out[:size]] = True, False
            value, next_slope = model.value_and_gradient(-model.weights * ~trial)
            if value < best:
                break
            size //= 2
        else:
            return
        best, kept, slope, size = value, trial, next_slope, 2 * size
        yield kept, best


def pairs(model: Quadratic, slope: Tensor, kept: Tensor, pools: Tensor) -> tuple[Tensor, Tensor]:
    """Weights to bring back and to remove instead, of one pool each pair, the best first; only pairs that gain."""
    linear = -model.weights * slope  # w·(F w_Q), since the change is −w_Q
    bend = model.diagonal * model.weights.square() / 2
    back, saving = ranked(bend - linear, ~kept & (pools >= 0), pools)
    out, cost = ranked(linear + bend, kept & (pools >= 0), pools)
    _, mine, theirs = np.intersect1d(saving, cost, assume_unique=True, return_indices=True)
    back, out = back[torch.from_numpy(mine)], out[torch.from_numpy(theirs)]
    gain = (linear - bend)[back] - (linear + bend)[out]
    order = gain.argsort(descending=True)[: int((gain > 0).sum())]
    return back[order], out[order]


def ranked(price: Tensor, which: Tensor, pools: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
    """The cheapest of the chosen weights by pool and price, and for each the pair (pool, rank in it) as one number."""
    chosen = which.nonzero().flatten()
    chosen = chosen[price[chosen].topk(min(len(chosen), CHEAPEST), largest=False).indices]
    pool = pools[chosen].numpy()
    order = np.lexsort((price[chosen].numpy(), pool))
    pool = pool[order]
    rank = np.arange(len(pool)) - np.searchsorted(pool, pool)
    return chosen[torch.from_numpy(order)], pool * len(pools) + rank
