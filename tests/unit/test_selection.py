"""Criteria, allocations, patterns and updates against closed forms, exact inverses and independent loops."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor, nn

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.calibration import calibration_order, evaluating, evaluation
from reflow_core.diagnosis.fields import normalize, unused_fields
from reflow_core.diagnosis.verdict import verdict
from reflow_core.errors import ReflowError
from reflow_core.pruning.allocations import Budget, allocations
from reflow_core.pruning.allocations.erk import kept_counts
from reflow_core.pruning.allocations.lamp import relative
from reflow_core.pruning.criteria import Samples, Subject, criteria
from reflow_core.pruning.criteria.cbs import swapped
from reflow_core.pruning.criteria.chita import thresholded
from reflow_core.pruning.criteria.synflow import flow, linear
from reflow_core.pruning.curvature import Quadratic, blocks, damping, inverse_diagonal, joined, split
from reflow_core.pruning.gradients import gradient_matrix, mean_gradient
from reflow_core.pruning.masks import Masks, Scores, Weights, sparsity_of
from reflow_core.pruning.patterns import group_numbers, n_of_m
from reflow_core.pruning.select import Rules, choose, pools, score, select
from reflow_core.pruning.updates import updates
from reflow_core.signal.layers import prunable
from reflow_core.watch import ignore

SCORED = ["magnitude", "random", "wanda", "snip", "fisher", "woodfisher"]
SMALL = Spec(calibration_images=48, evaluation_images=64)


class Tiny(nn.Module):
    """A convolution with groups, a norm and a classifier: under 2,000 weights, one of each kind that matters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.norm(self.first(x)))))
        return self.last(x.mean((2, 3)))


def subject(count: int = 40, seed: int = 0) -> Subject:
    torch.manual_seed(seed)
    network = Tiny().eval().requires_grad_(False)
    weights = prunable(network)
    samples = Samples(torch.randn(count, 4, 6, 6), torch.randint(0, 5, (count,)))
    matrix = gradient_matrix(network, weights, samples.inputs, samples.classes, ignore)
    return Subject(network, weights, seed, lambda: samples, lambda: matrix, samples.inputs[:1])


def rules(sparsity: float, allocation: str = "global", **more: object) -> Rules:
    return Rules(allocation, Budget(sparsity), **more)  # type: ignore[arg-type]


def one_by_one(at: Subject) -> Tensor:
    """The oracle of the per-sample gradients: one backward pass for each sample."""
    rows = []
    parameters = [at.network.get_submodule(name).get_parameter("weight").requires_grad_() for name in at.weights]
    for image, label in zip(at.samples().inputs, at.samples().classes, strict=True):
        loss = F.cross_entropy(at.network(image[None]), label[None])
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)]))
    at.network.requires_grad_(False)
    return torch.stack(rows)


def test_gradients_equal_one_backward_pass_a_sample() -> None:
    at = subject()
    expected = one_by_one(at)
    torch.testing.assert_close(at.gradients(), expected, rtol=1e-4, atol=1e-6)
    mean = mean_gradient(at.network, at.weights, at.samples().inputs, at.samples().classes, ignore)
    torch.testing.assert_close(joined(mean), expected.mean(0), rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in at.network.parameters())


def test_a_gradient_matrix_that_would_not_fit_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    at = subject()
    monkeypatch.setattr("reflow_core.pruning.gradients.MOST_BYTES", 10_000)
    with pytest.raises(ReflowError, match="at most 4 calibration images"):
        gradient_matrix(at.network, at.weights, at.samples().inputs, at.samples().classes, ignore)


def test_snip_and_fisher_equal_their_closed_form_on_a_linear_softmax() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4)).eval().requires_grad_(False)
    x, y = torch.randn(30, 6), torch.randint(0, 4, (30,))
    at = Subject(network, prunable(network), 0, lambda: Samples(x, y))
    error = network(x).softmax(1) - F.one_hot(y, 4)  # ∂ℓ/∂logits
    each = error[:, :, None] * x[:, None, :]
    weight = at.weights["0"]
    snip, fisher = (criteria[name].function(at)["0"] for name in ("snip", "fisher"))
    torch.testing.assert_close(snip, (weight * each.mean(0)).abs())
    torch.testing.assert_close(fisher, weight.square() * each.square().mean(0) / 2)


def test_wanda_equals_weight_times_norm_of_the_unfolded_input() -> None:
    at = subject()
    found = criteria["wanda"].function(at)
    x = at.samples().inputs
    columns = F.unfold(x, 3, padding=1, stride=2)  # (N, 4·9, L)
    norms = columns.square().sum((0, 2)).sqrt().view(4, 3, 3)
    torch.testing.assert_close(found["first"], at.weights["first"].abs() * norms)
    hidden = F.relu(at.network.norm(at.network.first(x)))  # type: ignore[operator]
    norms = F.unfold(hidden, 3, padding=1).square().sum((0, 2)).sqrt().view(2, 4, 3, 3)
    expected = torch.cat([at.weights["second"][:4].abs() * norms[0], at.weights["second"][4:].abs() * norms[1]])
    torch.testing.assert_close(found["second"], expected)


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.83])
def test_wanda_takes_the_same_share_of_every_output_row(sparsity: float) -> None:
    scores = score(subject(), "wanda")
    for allocation in ("global", "uniform"):
        for mask in select(scores, rules(sparsity, allocation)).values():
            lost = (~mask).flatten(1).sum(1)
            assert (lost - sparsity * mask[0].numel()).abs().max() <= 1


def test_wanda_removes_the_channels_with_the_least_weight_times_input_and_not_those_that_come_first() -> None:
    at = subject()
    raw = criteria["wanda"].function(at)
    masks = select(score(at, "wanda"), rules(0.5, pattern="channel"))
    for name, mask in masks.items():
        least = raw[name].flatten(1).sum(1).argsort()[: round(0.5 * len(mask))]
        assert set((~mask).flatten(1).all(1).nonzero().flatten().tolist()) == set(least.tolist())
    assert not all(mask.flatten(1).any(1).nonzero().min() == len(mask) // 2 for mask in masks.values())


def test_between_rows_the_scores_decide_what_a_rank_leaves_open() -> None:
    """Rows of three at one half: one or two go in each, two where the scores are low, wherever those rows stand."""
    raw = Scores({"a": torch.tensor([[7.0, 8.0, 9.0], [1.0, 2.0, 3.0]])}, "row")
    assert (~select(raw, rules(0.5))["a"]).sum(1).tolist() == [1, 2]


class Bounded(nn.Module):
    """Ten convolutions with one activation: an all-ones flow passes 6 in the first and grows from there."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(10))
        self.activation, self.head = activation, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.activation(5 * layer(x))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("activation", [nn.ReLU6(), F.relu6, nn.Hardtanh(0, 1), torch.tanh, F.silu, F.hardswish])
def test_synflow_scores_saturating_activations_as_it_does_relu(activation: Callable[[Tensor], Tensor]) -> None:
    ones, found = torch.ones(1, 4, 8, 8, dtype=torch.float64), {}
    for kind in (F.relu, activation):
        network = Bounded(kind)
        scores = flow(linear(network), {name: w.abs().double() for name, w in prunable(network).items()}, ones)
        flat = joined(scores)
        found[kind] = flat / flat.sum()
    assert found[F.relu].min() > 0
    torch.testing.assert_close(found[activation], found[F.relu], rtol=1e-9, atol=0)


def test_synflow_refuses_an_activation_that_is_not_zero_at_zero() -> None:
    network = Bounded(torch.sigmoid).eval().requires_grad_(False)
    at = Subject(network, prunable(network), 0, example=torch.zeros(1, 4, 8, 8))
    with pytest.raises(ReflowError, match="0 at 0"):
        choose(at, "synflow", rules(0.5))


def test_synflow_conserves_the_flow_through_every_layer_of_a_chain(library: Library) -> None:
    network = library.network("vgg-digits").module
    flowing = linear(network)
    weights = {name: weight.abs().double() for name, weight in prunable(network).items()}
    ones = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    out = torch.func.functional_call(flowing, {f"{name}.weight": weight for name, weight in weights.items()}, (ones,))
    totals = torch.stack([part.sum() for part in flow(flowing, weights, ones).values()])
    torch.testing.assert_close(totals, out.sum().expand_as(totals), rtol=1e-9, atol=0)


def test_synflow_leaves_no_layer_empty_where_magnitude_does_and_reaches_its_sparsity(library: Library) -> None:
    found = diagnose(SMALL.replace(criterion="synflow", sparsity=0.97, repair="none", calibration_images=512), library)
    assert found.sparsity == pytest.approx(0.97, abs=1e-5)
    assert all(layer.sparsity is not None and layer.sparsity < 1 for layer in found.layers)


def test_synflow_says_why_it_does_not_apply_to_layer_norms() -> None:
    spec = SMALL.replace(model="convnext-digits", criterion="synflow", repair="none", calibration_images=512)
    with pytest.raises(ReflowError, match="LayerNorm"):
        diagnose(spec, Library())


def exact_fisher(gradients: Tensor, parts: list[slice], damp: float) -> Tensor:
    """The oracle: the block-diagonal F as a whole matrix in float64."""
    whole = torch.zeros(gradients.shape[1], gradients.shape[1], dtype=torch.float64)
    for part in parts:
        block = gradients[:, part].double()
        whole[part, part] = block.T @ block / len(block) + damp * torch.eye(block.shape[1], dtype=torch.float64)
    return whole


@pytest.mark.parametrize("block", [50, 2_000])
def test_woodfisher_equals_the_exact_inverse(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow_core.pruning.curvature.BLOCK", block)  # narrower and wider than the 40 samples
    at = subject()
    gradients = at.gradients()
    inverse = torch.linalg.inv(exact_fisher(gradients, blocks(at.weights), damping(gradients)))
    expected = joined(at.weights).double().square() / (2 * inverse.diagonal())
    found = joined(criteria["woodfisher"].function(at)).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    part = blocks(at.weights)[0]
    torch.testing.assert_close(
        inverse_diagonal(gradients[:, part], damping(gradients)), inverse.diagonal()[part], rtol=1e-8, atol=0
    )


@pytest.mark.parametrize("sparsity", [0.3, 0.7, 0.95])
def test_the_obs_update_is_the_exact_optimum_on_its_support(sparsity: float) -> None:
    at = subject()
    masks = select(score(at, "magnitude"), rules(sparsity))
    found = joined(updates["obs"].function(at, masks)).double()
    kept, dense = joined(masks), joined(at.weights).double()
    fisher = exact_fisher(at.gradients(), blocks(at.weights), damping(at.gradients()))
    expected = dense * kept
    expected[kept] += torch.linalg.solve(fisher[kept][:, kept], fisher[kept][:, ~kept] @ dense[~kept])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    rise = [0.5 * (point - dense) @ fisher @ (point - dense) for point in (found, dense * kept)]
    assert rise[0] < rise[1]
    model = Quadratic(at.gradients(), at.weights)
    value, gradient = model.value_and_gradient((found - dense).float())
    assert value == pytest.approx(float(rise[0]), rel=1e-4)
    torch.testing.assert_close(gradient.double(), fisher @ (found - dense), rtol=1e-3, atol=1e-7)


def magnitude_support(at: Subject, within: Rules) -> tuple[Quadratic, Tensor]:
    return Quadratic(at.gradients(), at.weights), joined(select(score(at, "magnitude"), within))


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_chita_is_never_worse_than_magnitude_on_its_own_objective(sparsity: float) -> None:
    at, within = subject(), rules(sparsity)
    model, kept = magnitude_support(at, within)

    def project(sizes: Tensor) -> Tensor:
        return joined(select(Scores(split(sizes, at.weights)), within))

    steps = list(thresholded(model, kept, project))
    start = model.value_and_gradient(-model.weights * ~kept)[0]
    assert steps[0][1] == pytest.approx(start) and steps[-1][1] < start
    assert all(later < earlier for (_, earlier), (_, later) in itertools.pairwise(steps))
    assert all(int(support.sum()) == int(kept.sum()) for support, _ in steps)
    assert torch.equal(joined(choose(at, "chita", within)), steps[-1][0])


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_cbs_lowers_its_objective_and_keeps_to_every_budget(allocation: str) -> None:
    at, within = subject(), rules(0.7, allocation)
    model, kept = magnitude_support(at, within)
    steps = list(swapped(model, kept, joined(pools(at.weights, within))))
    assert len(steps) > 1
    assert all(later < earlier for (_, earlier), (_, later) in itertools.pairwise(steps))
    lost = -model.weights * ~steps[-1][0]
    fisher = exact_fisher(at.gradients(), blocks(at.weights), damping(at.gradients()))
    assert steps[-1][1] == pytest.approx(float(0.5 * lost.double() @ fisher @ lost.double()), rel=1e-4)
    masks = choose(at, "cbs", within)
    before = select(score(at, "magnitude"), within)
    if allocation == "uniform":
        assert {name: int(mask.sum()) for name, mask in masks.items()} == {
            name: int(mask.sum()) for name, mask in before.items()
        }
    assert sparsity_of(masks) == pytest.approx(sparsity_of(before))


@pytest.mark.parametrize("name", ["chita", "cbs"])
def test_methods_that_choose_jointly_keep_to_a_pattern_and_to_excluded_layers(name: str) -> None:
    at = subject()
    masks = choose(at, name, rules(0.5, pattern="2:4", excluded=frozenset({"last"})))
    assert masks["last"].all()
    for layer in ("first", "second"):
        assert (masks[layer].unflatten(1, (-1, 4)).sum(2) == 2).all()


shape = some.tuples(some.integers(1, 9), some.integers(1, 9), some.integers(1, 3), some.integers(1, 3))


@given(shapes=some.lists(shape, min_size=1, max_size=6), sparsity=some.floats(0, 0.99), seed=some.integers(0, 9))
def test_every_allocation_reaches_its_sparsity_within_one_weight(
    shapes: list[tuple[int, ...]], sparsity: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = Scores({str(place): torch.rand(size, generator=generator) for place, size in enumerate(shapes)})
    total = sum(math.prod(size) for size in shapes)
    for allocation in ("global", "erk", "lamp"):
        masks = select(scores, rules(sparsity, allocation))
        assert abs(sum(int((~mask).sum()) for mask in masks.values()) - sparsity * total) <= 1, allocation


@given(shapes=some.lists(shape, min_size=1, max_size=6), share=some.floats(0.01, 1))
def test_erk_densities_are_proportional_where_not_full(shapes: list[tuple[int, ...]], share: float) -> None:
    sizes = {str(place): torch.Size(size) for place, size in enumerate(shapes)}
    kept = round(share * sum(size.numel() for size in sizes.values()))
    counts = kept_counts(sizes, kept)
    assert sum(counts.values()) == kept and all(0 <= counts[name] <= sizes[name].numel() for name in sizes)
    thin = [name for name in sizes if counts[name] < sizes[name].numel() - 1]
    least = max(((counts[name] - 1) / sum(sizes[name]) for name in thin), default=0)
    most = min(((counts[name] + 1) / sum(sizes[name]) for name in thin), default=0)
    assert least <= most + 1e-9


def test_lamp_scores_equal_the_papers_formula() -> None:
    values = torch.tensor([[0.5, -0.1], [0.3, 0.3]]).abs()
    found = relative(Scores({"a": values}))["a"]
    squares = values.double().square()
    expected = torch.tensor([[1.0, 0.01 / 0.44], [0.09 / 0.43, 0.09 / 0.34]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert squares.sum() == pytest.approx(0.44)


def test_by_hand_gives_each_named_layer_its_own_share_and_knows_its_layers() -> None:
    scores = score(subject(), "magnitude")
    masks = select(scores, Rules("custom", Budget(0.5, {"second": 0.9})))
    for name, mask in masks.items():
        assert int((~mask).sum()) == round((0.9 if name == "second" else 0.5) * mask.numel())
    with pytest.raises(ReflowError, match="did you mean 'second'"):
        select(scores, Rules("custom", Budget(0.5, {"secnd": 0.9})))
    for text in ("second", "second:x", ":0.5", "second:1.5"):
        with pytest.raises(ReflowError, match="layer_sparsity"):
            Spec(layer_sparsity=text)


@given(
    outputs=some.integers(1, 5),
    groups=some.integers(1, 4),
    kernel=some.integers(1, 3),
    pattern=some.sampled_from(["2:4", "1:4", "4:8"]),
    levels=some.integers(1, 4),
)
def test_n_of_m_is_exact_in_every_group_and_keeps_the_highest(
    outputs: int, groups: int, kernel: int, pattern: str, levels: int
) -> None:
    kept, of = (int(part) for part in pattern.split(":"))
    values = torch.randint(0, levels, (outputs, groups * of, kernel, kernel)).float()
    mask = n_of_m({"a": values}, pattern)["a"]
    numbers = group_numbers(values, pattern)
    for number in numbers.unique():
        inside = numbers == number
        assert int(inside.sum()) == of and int(mask[inside].sum()) == kept
        channels = inside.nonzero()[:, 1]
        assert int(channels.max() - channels.min()) == of - 1  # consecutive input channels at one position
        if kept < of:
            assert values[inside][mask[inside]].min() >= values[inside][~mask[inside]].max()
    assert n_of_m({"a": values[:, : of - 1]}, pattern)["a"].all()


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("allocation", ["global", "uniform", "lamp", "erk", "custom", "scaled"])
def test_masks_of_scores_are_nested_in_sparsity(name: str, allocation: str) -> None:
    scores = score(subject(), name)
    masks: list[Masks] = [select(scores, rules(sparsity, allocation)) for sparsity in (0.2, 0.5, 0.51, 0.8, 0.95)]
    for loose, tight in itertools.pairwise(masks):
        assert all(not (tight[layer] & ~loose[layer]).any() for layer in loose)


def test_excluded_layers_stay_dense_and_the_rest_reaches_the_sparsity(library: Library) -> None:
    found = diagnose(SMALL.replace(exclude="both", repair="none", calibration_images=512), library)
    weights = sum(weight.numel() for weight in prunable(library.network("resnet20-digits").module).values())
    dense = 3 * 16 * 9 + 64 * 10
    assert found.layers[0].sparsity == 0
    assert found.sparsity == pytest.approx(0.8 * (weights - dense) / weights, abs=1e-5)


def test_what_a_combination_does_not_read_is_set_aside_with_a_note(library: Library) -> None:
    patterned = SMALL.replace(pattern="2:4", sparsity=0.5)
    assert {"sparsity", "allocation", "layer_sparsity"} <= unused_fields(patterned).keys()
    found = diagnose(patterned, library)
    assert found.spec == normalize(patterned) == SMALL.replace(pattern="2:4")
    assert found.notes[0].startswith("sparsity=0.5 is ignored: the pattern 2:4")
    assert "calibration_images" in unused_fields(Spec(repair="none"))
    assert "calibration_images" not in unused_fields(Spec(repair="none", criterion="snip"))
    assert "calibration_images" not in unused_fields(Spec(repair="none", update="obs"))
    assert "layer_sparsity" in unused_fields(Spec())
    assert "layer_sparsity" not in unused_fields(Spec(allocation="custom"))


def test_a_row_criterion_asked_for_global_says_how_it_ranks(library: Library) -> None:
    found = diagnose(SMALL.replace(criterion="wanda"), library)
    assert any("every output loses the same share" in note for note in found.notes)


def test_whole_channels_of_a_row_criterion_are_compared_within_their_layer_and_a_note_says_so(library: Library) -> None:
    found = diagnose(SMALL.replace(criterion="wanda", pattern="channel", sparsity=0.5, repair="none"), library)
    assert any("every layer loses the same share" in note for note in found.notes)
    assert all(layer.sparsity == pytest.approx(0.5, abs=0.01) for layer in found.layers)


def test_a_signal_above_twice_dense_is_called_amplified(library: Library) -> None:
    found = diagnose(SMALL.replace(sparsity=0.5, repair="none"), library)
    assert not any("amplified" in each for each in verdict(found).evidence)
    layer = found.layers[3]
    louder = dataclasses.replace(layer, variance=layer.variance | {"pruned": 13 * layer.variance["dense"]})
    evidence = verdict(dataclasses.replace(found, layers=(*found.layers[:3], louder, *found.layers[4:]))).evidence
    assert any(
        f"amplified in 1 of {len(found.layers)} layers, most at {layer.name}: ratio 13" in each for each in evidence
    )


def test_skewed_calibration_takes_its_share_from_one_class_and_nothing_twice(library: Library) -> None:
    train = library.images(Spec()).train
    spec = Spec(calibration_images=100, calibration_skew=0.6, seed=3)
    chosen = train[calibration_order(spec, train)]
    counts = torch.bincount(chosen.labels, minlength=10)  # type: ignore[arg-type]
    assert len(chosen) == 100 and int(counts[3]) >= 60 and len(chosen.pixels.unique(dim=0)) == 100
    assert torch.equal(calibration_order(spec.replace(calibration_skew=0.0), train), train.order(3)[:100])
    with pytest.raises(ReflowError, match="labeled"):
        calibration_order(spec, dataclasses.replace(train, labels=None))


def test_repairs_share_one_selection_and_one_pruned_pass(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = criteria["snip"]

    def counted(at: Subject) -> Weights:
        calls.append("x")
        return real.function(at)

    monkeypatch.setitem(criteria._entries, "snip", dataclasses.replace(real, function=counted))
    spec = SMALL.replace(criterion="snip", seed=5)
    stages: list[str] = []

    def watch(stage: str, done: int, total: int) -> None:
        stages.append(stage)

    first = diagnose(spec, library, watch)
    second = diagnose(normalize(spec, repair="statcorr"), library, watch)
    assert calls == ["x"] and [stage for stage, _ in itertools.groupby(stages)].count("pruned") == 1
    assert first.pruned == second.pruned and first.repaired is not None and second.repaired is not None


def test_allocations_and_criteria_have_a_paper_or_are_controls() -> None:
    assert all(info.paper for info in criteria)
    assert all(info.paper or info.name in ("custom", "scaled") for info in allocations)


@pytest.mark.parametrize("skew", [0.0, 0.6])
def test_what_is_chosen_by_is_neither_calibration_nor_test(skew: float, library: Library) -> None:
    spec = Spec(calibration_images=100, calibration_skew=skew, evaluation_split="train", seed=3)
    images = library.images(spec)
    free, calibrating = evaluating(spec, images), calibration_order(spec, images.train)
    assert len(free) + len(calibrating) == len(images.train)
    assert not torch.isin(free, calibrating).any()
    assert torch.equal(evaluation(spec, images).pixels, images.train[free[: spec.evaluation_images]].pixels)
    few = spec.replace(evaluation_images=20, criterion="wanda")
    assert any("judge the result on test images" in note for note in diagnose(few, library).notes)
    with pytest.raises(ReflowError, match="use fewer calibration images"):
        evaluating(spec.replace(calibration_images=5000), images)
