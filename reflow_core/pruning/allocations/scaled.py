"""A sparsity for each layer, given by hand and scaled to any sparsity of all."""

from __future__ import annotations

from reflow_core.pruning.allocations import AllocationInfo, Budget, allocations
from reflow_core.pruning.allocations.custom import custom
from reflow_core.pruning.masks import Masks, Scores
from reflow_core.spec import MAX_SPARSITY

HARDLY, STEPS = 1e-6, 80  # the share of a layer that is not named; of the bisection


@allocations.register(AllocationInfo(
    "scaled", "By hand, scaled", "The sparsities of the named layers (layer_sparsity), scaled to reach the overall "
    "sparsity; other layers are pruned only if those reach their maximum.", "",
    comparison="layer", reads=("layer_sparsity",),
))  # fmt: skip
def scaled(scores: Scores, budget: Budget) -> Masks:
    """Remove each layer's lowest scores, at most MAX_SPARSITY of it. Raises ReflowError for a layer there is not."""
    counts, factor, step = {name: ranked.count for name, ranked in scores.each.items()}, 0.0, 1 / HARDLY
    wanted = budget.sparsity * sum(counts.values())
    for _ in range(STEPS):
        step /= 2
        taken = {name: min(MAX_SPARSITY, (factor + step) * (budget.layers.get(name) or HARDLY)) for name in counts}
        factor += step * (sum(taken[name] * count for name, count in counts.items()) <= wanted)
    return custom(scores, Budget(0.0, {**budget.layers, **taken}))
