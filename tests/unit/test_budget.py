"""A budget by layer keeps its sparsity: scaled against bisection, opened with all it says, moved by the slider."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.diagnosis.fields import is_total, scalable
from reflow_core.errors import ReflowError
from reflow_core.production import sensitivity
from reflow_core.pruning.allocations import Budget
from reflow_core.pruning.allocations.scaled import scaled
from reflow_core.pruning.masks import Scores
from reflow_core.spec import MAX_SPARSITY

SMALL = Spec(evaluation_images=64, calibration_images=32)


def removed(counts: dict[str, int], shares: dict[str, float], sparsity: float) -> dict[str, int]:
    """How many weights of each layer the allocation takes; any scores will do."""
    scores = Scores({name: torch.rand(count) for name, count in counts.items()})
    return {name: int((~mask).sum()) for name, mask in scaled(scores, Budget(sparsity, shares)).items()}


@given(
    some.lists(some.tuples(some.integers(50, 5000), some.floats(0.01, 0.99)), min_size=1, max_size=6),
    some.floats(0, 0.99),
)
def test_a_scaled_budget_is_one_factor_for_all_layers_up_to_a_ceiling(
    layers: list[tuple[int, float]], sparsity: float
) -> None:
    counts = {str(place): count for place, (count, _) in enumerate(layers)}
    shares = {str(place): share for place, (_, share) in enumerate(layers)}
    found = removed(counts, shares, sparsity)
    assert abs(sum(found.values()) - sparsity * sum(counts.values())) <= len(counts)
    # Independent: fill the layers up one after the other, the one that is full first first.
    left, wanted = set(counts), sparsity * sum(counts.values())
    full: dict[str, float] = {}
    while left:
        factor = (wanted - sum(full.values())) / sum(shares[name] * counts[name] for name in left)
        over = {name for name in left if factor * shares[name] > MAX_SPARSITY}
        if not over:
            break
        full |= {name: MAX_SPARSITY * counts[name] for name in over}
        left -= over
    expected = full | {name: factor * shares[name] * counts[name] for name in left}
    assert all(abs(found[name] - expected[name]) <= 1 for name in counts), (found, expected)


def test_layers_that_are_not_named_only_give_what_the_named_ones_cannot() -> None:
    counts = {"a": 1000, "b": 1000, "c": 2000}
    assert removed(counts, {"a": 0.3, "b": 0.1}, 0.2) == {"a": 600, "b": 200, "c": 0}
    assert removed(counts, {"a": 0.3}, (990 + 500 + 1000) / 4000) == {"a": 990, "b": 500, "c": 1000}
    assert removed(counts, {}, 0.1) == {"a": 100, "b": 100, "c": 200}


def test_by_hand_and_scaled_to_its_own_sparsity_are_the_same_network() -> None:
    library = Library()
    by_hand = SMALL.replace(allocation="custom", sparsity=0.0, layer_sparsity="conv1:0.25,layer3.0.conv1:0.9")
    found = diagnose(by_hand, library)
    assert found.sparsity > 0.05 and not is_total(by_hand)
    names = [layer.name for layer in trace_of(by_hand, library).layers]
    moved = scalable(by_hand, names, found.sparsity)
    assert moved.sparsity == round(found.sparsity, 4) and is_total(moved)
    again = diagnose(moved, library)
    np.testing.assert_array_equal(again.predictions["pruned"].predicted, found.predictions["pruned"].predicted)
    halved = diagnose(moved.replace(sparsity=0.5 * found.sparsity), library)
    by_layer = {layer.weights: layer.sparsity for layer in halved.layers}
    assert by_layer["layer3.0.conv1"] == pytest.approx(0.45, abs=0.01) and by_layer["layer2.0.conv1"] == 0


def test_sparsities_for_all_other_layers_are_scaled_too() -> None:
    library = Library()
    spec = SMALL.replace(allocation="custom", sparsity=0.5, layer_sparsity="conv1:0.1")
    layers = trace_of(spec, library).layers
    moved = scalable(spec, [layer.name for layer in layers], 0.4986)
    assert moved.layer_sparsity.startswith("conv1:0.1,") and moved.layer_sparsity.count(":0.5") == len(layers) - 1
    with pytest.raises(ReflowError, match="did you mean 'conv1'"):
        diagnose(moved.replace(layer_sparsity="conv11:0.5"), library)


def test_the_budget_that_is_opened_says_its_own_sparsity() -> None:
    specs = sensitivity.rivals(SMALL, 0.9, {"conv1": 0.2, "layer3.0.conv1": 0.97})
    assert specs["budget"].sparsity == 0.9 and specs["budget"].differences()["allocation"] == "scaled"
