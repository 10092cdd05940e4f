"""Long work calls its watch often: where it does not, nobody can stop it and no other visitor gets a turn."""

from __future__ import annotations

import torch

from reflow_core.pruning.curvature import BLOCK, Quadratic


def test_solving_the_blocks_of_the_fisher_calls_watch_for_each() -> None:
    """On the default network these solves took 4 seconds in which nobody was asked."""
    torch.manual_seed(0)
    weights = {"one": torch.randn(2, BLOCK), "two": torch.randn(7)}
    seen: list[tuple[str, int, int]] = []
    model = Quadratic(torch.randn(8, 2 * BLOCK + 7), weights, lambda *state: seen.append(state))
    model.largest_eigenvalues()
    model.optimum(model.weights > 0)
    assert seen == [*(("scores", number, 3) for number in range(3)), *(("update", number, 3) for number in range(3))]
