"""Selection of weights: joins a criterion to an allocation."""

from __future__ import annotations

from reflow_core.allocations import allocations
from reflow_core.criteria import Subject, criteria
from reflow_core.pruning import Masks, Scores


def score(subject: Subject, criterion: str) -> Scores:
    """The subject's weights scored by a registered criterion; one scoring serves every sparsity."""
    return Scores(criteria[criterion].function(subject))


def select(scores: Scores, allocation: str, sparsity: float) -> Masks:
    """Masks (True: kept) at a sparsity (fraction), by a registered allocation. Raises ReflowError."""
    return allocations[allocation].function(scores, sparsity)
