"""Selection of weights: joins a criterion to the limits it has to keep to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reflow_core.errors import ReflowError
from reflow_core.pruning.allocations import Budget, allocations
from reflow_core.pruning.criteria import Limits, Subject, criteria
from reflow_core.pruning.masks import Masks, Scores, Weights
from reflow_core.pruning.patterns import (
    CHANNEL,
    N_OF_M,
    UNSTRUCTURED,
    channel_scores,
    group_numbers,
    n_of_m,
    ranks,
    whole_channels,
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be pruned, how much, in which pattern. `excluded`: layers that stay dense. `before`: earlier masks."""

    allocation: str
    budget: Budget
    pattern: str = UNSTRUCTURED
    excluded: frozenset[str] = frozenset()
    before: Masks = field(default_factory=dict)


def choose(subject: Subject, criterion: str, rules: Rules, scores: Callable[[], Scores] | None = None) -> Masks:
    """The masks (True: kept) of a registered criterion within the rules. Raises ReflowError.

    `scores`: where the criterion's scores are kept, if they are; they serve every sparsity, allocation and pattern.
    """
    if criteria[criterion].info.per_sparsity:
        return _chosen_anew(subject, criterion, rules)
    return select(score(subject, criterion) if scores is None else scores(), rules)


def score(subject: Subject, criterion: str) -> Scores:
    """The subject's weights scored by a registered criterion."""
    method = criteria[criterion]
    return Scores(method.function(subject), method.info.comparison)


def _chosen_anew(subject: Subject, criterion: str, rules: Rules) -> Masks:
    """Masks of a criterion that chooses anew at every sparsity."""
    if rules.pattern == CHANNEL:
        raise ReflowError(f"{criterion} chooses single weights, not whole channels; choose magnitude, for example.")
    limits = Limits(
        rules.budget.sparsity, lambda scores, sparsity: select(scores, rules, sparsity), lambda w: pools(w, rules)
    )
    return dict(criteria[criterion].function(dataclasses.replace(subject, limits=limits)))


def select(scores: Scores, rules: Rules, sparsity: float | None = None) -> Masks:
    """Masks (True: kept) within the rules, at another sparsity if one is given. Raises ReflowError."""
    kept = {name: torch.ones_like(scores.by_layer[name], dtype=torch.bool) for name in sorted(rules.excluded)}
    if rules.before:  # scores are never negative: what was removed before goes first
        left = {name: score * rules.before.get(name, True) for name, score in scores.by_layer.items()}
        scores = Scores(left, scores.comparison)
    scores = comparable(scores, rules.pattern)
    if rules.excluded:
        scores = scores.derived(rules.excluded, lambda all_of_them: without(all_of_them.by_layer, rules.excluded))
    if rules.pattern in N_OF_M:
        return n_of_m(scores.by_layer, rules.pattern) | kept
    budget = rules.budget if sparsity is None else dataclasses.replace(rules.budget, sparsity=sparsity)
    if rules.pattern == CHANNEL:
        return whole_channels(scores.by_layer, allocations[rules.allocation].function(scores, budget)) | kept
    return allocations[rules.allocation].function(scores, budget) | kept


def without(weights: Weights, excluded: frozenset[str]) -> Weights:
    """All layers but some."""
    return {name: weight for name, weight in weights.items() if name not in excluded}


def comparable(scores: Scores, pattern: str) -> Scores:
    """Scores that one threshold may cut: ranks within each row, or of whole channels within each layer, where asked.

    A channel's score is the mean of its weights' own scores, never of their ranks, which are the same in every row.
    """
    ranked = scores.comparison == "row"
    if pattern == CHANNEL:
        return scores.derived(CHANNEL, lambda single: channel_scores(single.by_layer, ranked))
    return scores.derived("rows", row_ranks) if ranked else scores


def row_ranks(scores: Scores) -> Weights:
    """Each score's rank within its output row, 0 to 1, so that one threshold takes the same share of every row.

    Between rows the scores decide, not the position: a rank is refined by its score's share of the layer's highest.
    What scores 0, such as a weight removed before, ranks 0 everywhere.
    """
    return {name: _ranks(score) for name, score in scores.by_layer.items()}


def _ranks(score: Tensor) -> Tensor:
    finer = 0.25 + 0.5 * score / score.max().clamp_min(torch.finfo(score.dtype).tiny)
    return (ranks(score.flatten(1)).view_as(score) + finer) / score[0].numel() * (score > 0)


def pools(weights: Weights, rules: Rules) -> dict[str, Tensor]:
    """For each weight the number of its budget: the network's, its layer's or its N:M group's; −1 if excluded."""
    numbers: dict[str, Tensor] = {}
    following = 0
    for name, weight in weights.items():
        if name in rules.excluded:
            numbers[name] = torch.full(weight.shape, -1)
        elif rules.pattern in N_OF_M:
            numbers[name] = group_numbers(weight, rules.pattern) + following
            following = int(numbers[name].max()) + 1
        else:
            numbers[name] = torch.full(weight.shape, following)
            following += allocations[rules.allocation].info.comparison != "global"
    return numbers
