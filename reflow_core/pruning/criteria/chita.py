"""CHITA: the weights to keep as an ℓ0-constrained least-squares problem, by iterative hard thresholding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from reflow_core.pruning.criteria import CriterionInfo, Subject, criteria
from reflow_core.pruning.curvature import Quadratic, joined, split
from reflow_core.pruning.masks import Scores, Weights

ITERATIONS = 30


@criteria.register(
    CriterionInfo(
        "chita",
        "CHITA",
        "Choose weights and values jointly: least squares on the gradients under the budget, by hard "
        "thresholding. This implementation runs one stage on all gradients; the paper's stages, its search for "
        "λ and its gradient minibatches are left out, and the damping is not tuned.",
        "Benbaki et al., arXiv 2302.14623",
        needs_data=True,
        per_sparsity=True,
    )
)
def chita(subject: Subject) -> Weights:
    """Masks of the best iterate of `thresholded`, which starts from magnitude pruning."""
    assert subject.limits is not None
    weights, sparsity, masks = subject.weights, subject.limits.sparsity, subject.limits.masks
    model = Quadratic(subject.gradients(), weights, subject.watch)

    def project(sizes: Tensor) -> Tensor:
        return joined(masks(Scores(split(sizes, weights)), sparsity))

    kept = project(joined(weights).abs())
    for number, (support, _) in enumerate(thresholded(model, kept, project)):
        subject.watch("scores", number, ITERATIONS + 1)
        kept = support
    return split(kept, weights)


def thresholded(model: Quadratic, kept: Tensor, project: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, float]]:
    """Supports and the objective at each iterate of w ← P(w − t·∇Q(w)/L_b), objectives strictly falling.

    L_b is the largest eigenvalue of each block's F (so t = 1 never raises the model), t is doubled while that helps
    (Benbaki et al., 2023, algorithm 1), and P keeps the weights with the largest √L_b·|w| that the budget allows.
    """
    steepest = model.largest_eigenvalues()
    current = model.weights * kept
    best, slope = model.value_and_gradient(current - model.weights)
    yield kept, best
    for _ in range(ITERATIONS):
        step, nearer = 1.0, None
        while True:
            moved = current - step * slope / steepest
            kept = project(moved.abs() * steepest.sqrt())
            value, next_slope = model.value_and_gradient(moved * kept - model.weights)
            if nearer is not None and value >= nearer[0]:
                break
            nearer, step = (value, moved * kept, kept, next_slope), 2 * step
        if nearer[0] >= best:
            return
        best, current, kept, slope = nearer
        yield kept, best
