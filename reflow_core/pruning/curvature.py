"""The empirical Fisher F = GᵀG/n + λI of a matrix G of per-sample gradients (n, weights), never formed as a whole.

G has few rows (samples), so what is needed of F or of a block of it comes from matrices of n rows (the Woodbury
identity): WoodFisher's recursion (Singh and Alistarh, arXiv 2004.14340, eq. 7) in one step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reflow_core.pruning.masks import Weights
from reflow_core.watch import Watch, ignore

BLOCK = 2_000  # weights a block, within one layer
DAMPING = 3e-2  # λ as a share of the mean diagonal of GᵀG/n


def damping(gradients: Tensor) -> float:
    """λ > 0, so that F can be inverted: DAMPING times the mean of diag(GᵀG/n)."""
    rows = [row.square().mean(dtype=torch.float64) for row in gradients]  # the squares of all at once take a second
    return max(DAMPING * float(torch.stack(rows).mean()), 1e-20)


def columns(weights: Weights) -> dict[str, slice]:
    """Where each layer's weights stand in the columns of G."""
    slices, start = {}, 0
    for name, weight in weights.items():
        slices[name] = slice(start, start + weight.numel())
        start += weight.numel()
    return slices


def blocks(weights: Weights) -> list[slice]:
    """The columns of G cut into blocks of at most BLOCK within layers."""
    return [
        slice(start, min(start + BLOCK, layer.stop))
        for layer in columns(weights).values()
        for start in range(layer.start, layer.stop, BLOCK)
    ]


def split(flat: Tensor, weights: Weights) -> dict[str, Tensor]:
    """A vector over all columns (weights,) cut into the layers' own shapes."""
    return {name: flat[part].view_as(weights[name]) for name, part in columns(weights).items()}


def joined(weights: Weights) -> Tensor:
    """The layers' tensors as one vector (weights,), in the order of G's columns."""
    return torch.cat([weight.flatten() for weight in weights.values()])


def inverse_diagonal(gradients: Tensor, damp: float) -> Tensor:
    """diag(F⁻¹) of one block (n, B) in float64, (B,)."""
    block = gradients.double()
    count, width = block.shape
    if width <= count:
        fisher = block.T @ block / count + damp * torch.eye(width, dtype=torch.float64)
        inverse: Tensor = torch.cholesky_inverse(torch.linalg.cholesky(fisher))
        return inverse.diagonal()
    gram = block @ block.T + count * damp * torch.eye(count, dtype=torch.float64)
    half: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), block, upper=False)
    return (1 - half.square().sum(0)) / damp


def refit(gradients: Tensor, kept: Tensor, target: Tensor, damp: float) -> Tensor:
    """The change of the kept weights (columns where `kept`) that minimizes ‖G_S δ − target‖²/2n + λ/2 ‖δ‖²: (kept,).

    δ = G_Sᵀ (G_S G_Sᵀ + nλI)⁻¹ target, with `target` (n,).
    """
    survivors = gradients[:, kept].double()
    count = len(survivors)
    gram = survivors @ survivors.T + count * damp * torch.eye(count, dtype=torch.float64)
    solved = torch.cholesky_solve(target.double()[:, None], torch.linalg.cholesky(gram))
    return (survivors.T @ solved).flatten()


class Quadratic:
    """½ δᵀFδ for a change δ of all weights (weights,): the rise of the loss at a trained optimum, F in blocks.

    The gradient's linear term is left out, as in OBD and OBS. `weights`: all dense weights as one vector. `watch` is
    called for every block that is solved.
    """

    def __init__(self, gradients: Tensor, weights: Weights, watch: Watch = ignore) -> None:
        self.gradients, self.weights, self.watch = gradients, joined(weights), watch
        self.parts, self.damp = blocks(weights), damping(gradients)
        self.diagonal = gradients.square().mean(0) + self.damp

    def value_and_gradient(self, change: Tensor) -> tuple[float, Tensor]:
        """½ δᵀFδ and Fδ (weights,)."""
        moved = [self.gradients[:, part] @ change[part] for part in self.parts]
        pulls = [self.gradients[:, part].T @ one for part, one in zip(self.parts, moved, strict=True)]
        count = len(self.gradients)
        value = sum(float(one.double().square().sum()) for one in moved) / (2 * count)
        value += self.damp / 2 * float(change.double().square().sum())
        return value, torch.cat(pulls) / count + self.damp * change

    def largest_eigenvalues(self) -> Tensor:
        """For each weight the largest eigenvalue of its block of F, (weights,)."""
        tops = []
        for number, part in enumerate(self.parts):
            self.watch("scores", number, len(self.parts))
            block = self.gradients[:, part]
            gram = block @ block.T if block.shape[1] > len(block) else block.T @ block
            tops.append(torch.linalg.eigvalsh(gram.double())[-1] / len(block) + self.damp)
        widths = torch.tensor([part.stop - part.start for part in self.parts])
        return torch.stack(tops).float().repeat_interleave(widths)

    def optimum(self, kept: Tensor) -> Tensor:
        """The weights (weights,) with zeros where not `kept` that raise the loss least: the joint OBS update.

        Block by block, δ_S = F_SS⁻¹ F_SQ w_Q (Hassibi and Stork, 1992, for all removed weights Q at once).
        """
        optimum = (self.weights * kept).double()
        for number, part in enumerate(self.parts):
            self.watch("update", number, len(self.parts))
            mask, block = kept[part], self.gradients[:, part]
            if mask.any() and not mask.all():
                lost = block[:, ~mask].double() @ self.weights[part][~mask].double()
                optimum[part][mask] += refit(block, mask, lost, self.damp)
        return optimum.to(self.weights)
