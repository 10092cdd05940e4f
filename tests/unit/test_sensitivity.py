"""Sensitivity: the budget against a linear program, McNemar against SciPy, channels and cost by hand, real networks."""

from __future__ import annotations

import colorsys
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.optimize import linprog
from scipy.stats import binomtest, spearmanr
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reflow_core import Library, Spec, diagnose
from reflow_core.cli import main
from reflow_core.diagnosis.calibration import evaluation
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import Point, point
from reflow_core.diagnosis.statistics import mcnemar
from reflow_core.errors import ReflowError
from reflow_core.images.corruptions import SEVERITIES, corrupted, corruptions
from reflow_core.images.digits import digits
from reflow_core.images.image_set import Images
from reflow_core.production import sensitivity
from reflow_core.pruning.patterns import channel_scores, whole_channels
from reflow_core.signal.trace import WeightLayer, trace

SMALL = Spec(evaluation_images=100, calibration_images=64)


def made(losses: dict[str, list[float]], shares: list[float], weights: dict[str, int]) -> pd.DataFrame:
    """A profile with these fidelity losses."""
    rows = [
        {"layer": name, "depth": place, "weights": weights[name], "multiply_adds": 1, "sparsity": share}
        | {"fidelity_loss": loss, "ranked": True}
        for place, (name, curve) in enumerate(losses.items(), 1)
        for share, loss in zip(shares, curve, strict=True)
    ]
    return pd.DataFrame(rows)


@settings(max_examples=40, deadline=None)
@given(
    some.lists(some.lists(some.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=5),
    some.lists(some.integers(10, 5000), min_size=5, max_size=5),
    some.floats(0.05, 0.85),
)
def test_the_budget_is_the_optimum_of_a_linear_program(
    curves: list[list[float]], sizes: list[int], sparsity: float
) -> None:
    shares = [0.3, 0.6, 0.9]
    losses = {f"l{number}": list(np.maximum.accumulate(curve)) for number, curve in enumerate(curves)}
    weights = dict(zip(losses, sizes, strict=False))
    found = made(losses, shares, weights)
    budget = sensitivity.budget(found, sparsity)
    # Independent: convex combinations of each layer's points, any of them, at the least cost.
    points = [(name, share, loss) for name, curve in losses.items() for share, loss in zip([0, *shares], [0, *curve])]  # noqa: B905
    total = sum(weights.values())
    same = [[float(name == other) for name, _, _ in points] for other in losses]
    spent = [weights[name] * share / total for name, share, _ in points]
    best = linprog([loss for *_, loss in points], A_eq=[*same, spent], b_eq=[*[1] * len(losses), sparsity])
    assert sum(weights[name] * share for name, share in budget.items()) / total == pytest.approx(sparsity, abs=1e-3)
    assert sensitivity.expected_loss(found, budget) == pytest.approx(best.fun, abs=2e-3)


def test_a_budget_beyond_the_profile_is_refused_and_what_was_not_pruned_has_no_say() -> None:
    found = made({"a": [0.1], "b": [0.2]}, [0.5], {"a": 100, "b": 100})
    with pytest.raises(ReflowError, match=r"beyond the profile, which reaches 50\.0\s%"):
        sensitivity.budget(found, 0.6)
    found.loc[found.layer == "a", "ranked"] = False  # kept dense, so the sparsity counts over the others
    budget = sensitivity.budget(found, 0.4)
    assert budget == {"a": 0.0, "b": 0.4} and sensitivity.reached(found, budget) == 0.4


@given(some.lists(some.tuples(some.booleans(), some.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    one, other = (np.array(side) for side in zip(*pairs, strict=True))
    wins, losses = int((one & ~other).sum()), int((other & ~one).sum())
    wanted = binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert mcnemar(one, other) == pytest.approx(wanted)


def test_the_depth_trend_is_spearmans() -> None:
    losses = [0.5, 0.1, 0.3, 0.3, 0.0]
    ranked = pd.DataFrame({"depth": range(1, 6), "loss_pruned": losses})
    assert sensitivity.depth_trend(ranked) == pytest.approx(spearmanr(range(5), losses).statistic)
    assert sensitivity.depth_trend(ranked.assign(loss_pruned=0.1)) is None


class Mixed(nn.Module):
    """Every kind of layer whose cost is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.b = nn.Conv2d(8, 8, 3, groups=4, dilation=2)
        self.c = nn.ConvTranspose2d(8, 6, 4, stride=2)
        self.d = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.d(self.c(self.b(self.a(x))).mean((2, 3)))


def test_multiply_adds_are_torchs_halved_and_by_hand() -> None:
    network, image = Mixed().eval(), torch.randn(1, 3, 16, 16)
    layers = {layer.name: layer for layer in trace(network, image).layers}
    assert layers["a"].multiply_adds == 8 * 8 * 8 * (3 * 3 * 3)  # (H, W, C_out) outputs, C_in·k·k products each
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    counted = {name: sum(ops.values()) / 2 for name, ops in counter.get_flop_counts().items()}
    assert {name: layer.multiply_adds for name, layer in layers.items()} == {n: counted[f"Mixed.{n}"] for n in layers}


@given(some.integers(1, 6), some.integers(1, 3), some.floats(0, 0.99))
def test_whole_channels_go_the_weakest_first_and_one_is_left(channels: int, inputs: int, sparsity: float) -> None:
    values = torch.rand(channels, inputs, 2, generator=torch.Generator().manual_seed(channels))
    scores = channel_scores({"a": values})
    removed = torch.ones(values.numel(), dtype=torch.bool)
    removed[: round(sparsity * values.numel())] = False
    mask = whole_channels(scores, {"a": removed.view(values.shape)})["a"]
    alive = mask.flatten(1).all(1)
    assert torch.equal(mask.flatten(1).any(1), alive)  # a channel is whole or gone
    gone = min(round(round(sparsity * values.numel()) * channels / values.numel()), channels - 1)
    weakest = values.flatten(1).mean(1).argsort(stable=True)[:gone]
    assert sorted((~alive).nonzero().flatten().tolist()) == sorted(weakest.tolist())


def test_a_pruned_channel_is_zero_and_the_classes_stay() -> None:
    found = diagnose(normalize(SMALL, pattern="channel", sparsity=0.3), Library())
    assert found.sparsity == pytest.approx(0.3, abs=0.02)
    by_weights = {layer.weights: layer.sparsity for layer in found.layers}
    assert by_weights["conv1"] in {count / 16 for count in range(16)}
    with pytest.raises(ReflowError, match="chita chooses single weights"):
        diagnose(normalize(SMALL, criterion="chita", pattern="channel"), Library())


@pytest.mark.parametrize("name", corruptions.names())
def test_a_corruption_grows_with_its_severity_and_is_seeded(name: str) -> None:
    images = digits().test[slice(0, 60)]
    harm = [
        float((corrupted(images, f"{name}:{level}", 1).pixels.float() - images.pixels).square().mean())
        for level in SEVERITIES
    ]
    assert harm == sorted(harm)
    assert harm[0] > 0
    once, again = (corrupted(images, f"{name}:3", 1).pixels for _ in range(2))
    assert torch.equal(once, again)
    assert once.dtype == torch.uint8
    assert once.shape == images.pixels.shape


def test_the_noise_has_the_deviation_it_says() -> None:
    gray = Images(torch.full((50, 3, 20, 20), 128, dtype=torch.uint8), None)
    found = corrupted(gray, "noise:5", 0).pixels.float().std() / 255
    assert found == pytest.approx(0.10, rel=0.03)  # CIFAR-10-C's fifth
    hidden = corrupted(gray, "occlusion:3", 0).pixels == 0
    assert hidden.float().mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(("side", "brighter", "contrasts"), [
    (8, (0.05, 0.1, 0.15, 0.2, 0.3), (0.75, 0.5, 0.4, 0.3, 0.15)),  # make_cifar_c.py
    (65, (0.1, 0.2, 0.3, 0.4, 0.5), (0.4, 0.3, 0.2, 0.1, 0.05)),  # make_imagenet_c.py
])  # fmt: skip
def test_brightness_and_contrast_are_hendrycks(
    side: int, brighter: tuple[float, ...], contrasts: tuple[float, ...]
) -> None:
    pixels = torch.randint(256, (2, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels[0, :, 0, 0] = 0  # black has no hue
    images = Images(pixels, None)
    for severity, (more, share) in enumerate(zip(brighter, contrasts, strict=True), 1):
        bright = corrupted(images, f"brightness:{severity}", 0).pixels
        for row, column in ((0, 0), (1, 2), (5, 7)):
            hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[0, :, row, column] / 255).tolist())
            wanted = colorsys.hsv_to_rgb(hue, saturation, min(1, value + more))
            assert bright[0, :, row, column].tolist() == pytest.approx([255 * each for each in wanted], abs=0.51)
        array = pixels[1].permute(1, 2, 0).numpy() / 255
        means = array.mean((0, 1), keepdims=True)
        wanted_low = 255 * np.clip((array - means) * share + means, 0, 1)
        low = corrupted(images, f"contrast:{severity}", 0).pixels[1].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(low, wanted_low, atol=0.51)


def test_a_wrong_corruption_is_named() -> None:
    for wrong, said in (("noise", "NAME:SEVERITY"), ("noise:6", "NAME:SEVERITY"), ("nose:1", "did you mean 'noise'")):
        with pytest.raises(ReflowError, match=said):
            diagnose(SMALL.replace(corruption=wrong), Library())


def test_the_tail_falls_exponentially() -> None:
    labels = torch.arange(5).repeat_interleave(100)
    images = Images(torch.zeros(500, 3, 1, 1, dtype=torch.uint8), labels)
    counts = labels[images.long_tailed(16)].bincount().tolist()
    assert counts == [100, 50, 25, 12, 6]
    assert torch.equal(images.long_tailed(1), torch.arange(500))
    with pytest.raises(ReflowError, match="needs labeled"):
        Images(images.pixels, None).long_tailed(2)


def layers_and_points(spec: Spec, share: float) -> tuple[tuple[WeightLayer, ...], dict[Spec, Point]]:
    library = Library()
    layers = trace_of(spec, library).layers
    some_layers = (layers[0], layers[9], layers[-1])
    specs = sensitivity.alone(spec, some_layers, [share])
    return layers, {each: point(diagnose(each, library)) for each in specs}


def test_each_layer_is_pruned_alone_and_untouched_ones_are_not_ranked() -> None:
    layers, points = layers_and_points(SMALL.replace(pattern="channel"), 0.5)
    found = sensitivity.profile(points, layers)
    assert found.removed.tolist() == [layers[0].weights // 2, layers[9].weights // 2, 0]
    assert found.ranked.tolist() == [True, True, False]
    told = sensitivity.finding(SMALL, found, 0.5)
    assert told.facts["unranked"] == ["linear"]
    assert "linear" in told.notes[-1]
    assert math.isclose(found.loss_pruned[0], found.dense[0] - found.pruned[0])


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--evaluation", "40", "--calibration", "16", "--model", "vgg-digits", "--share", "0.5", "--json"]
    assert main(["sensitivity", *options]) == 0
    found = json.loads(capsys.readouterr().out)["sensitivity"]
    assert found["answer"].startswith("When a single layer loses 50\u00a0%")
    assert len(found["tables"]["Layers"]) == len(trace_of(Spec(model="vgg-digits"), Library()).layers)


def measured(losses: dict[float, list[float]]) -> pd.DataFrame:
    """A profile with these losses of the pruned network by share, a value a layer."""
    rows = [
        {"layer": f"l{depth}", "depth": depth, "sparsity": share, "loss_pruned": loss, "loss_repaired": None, "n": 96}
        | {"ranked": True, "removed": 5}
        for share, values in losses.items()
        for depth, loss in enumerate(values, 1)
    ]
    return pd.DataFrame(rows)


def test_layers_are_ranked_where_something_happens() -> None:
    nothing, some_lose, all_lose = [0.0, 0.01, 0.0, 0.0], [0.0, 0.1, 0.0, 0.03], [0.9, 0.9, 0.9, 0.9]
    table = measured({0.2: nothing, 0.6: some_lose, 0.9: all_lose})
    assert sensitivity.telling_share(table) == 0.6
    assert sensitivity.telling_share(measured({0.2: nothing, 0.6: [0.0, 0.019, 0.0, 0.0]})) == 0.6, "the most there is"
    assert sensitivity.telling_share(table[(table.sparsity != 0.6) | (table.depth < 3)]) == 0.9, "not half measured"
    told = sensitivity.finding(SMALL, table)
    assert told.facts["share"] == 0.6 and told.answer.startswith(
        "When a single layer loses 60\u00a0% of its weights, l2"
    )
    assert sensitivity.finding(SMALL, table, 0.2).answer.startswith("When a single layer loses 20\u00a0%")
    assert sensitivity.finding(SMALL, table.iloc[:0]).answer == "No layer is measured yet."


def test_the_command_ranks_where_something_happens_unless_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", "--evaluation", "60", "--calibration", "16", "--model", "vgg-digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["sensitivity"]
    rows = pd.DataFrame(found["tables"]["Layers"])
    assert found["facts"]["share"] in sensitivity.COARSE and set(rows.sparsity) == set(sensitivity.COARSE)
    at = rows[rows.sparsity == found["facts"]["share"]]
    assert (at.loss_pruned > sensitivity.NOTICED).mean() >= sensitivity.SOME


def test_a_first_look_is_on_few_images_and_reaches_any_budget() -> None:
    look = sensitivity.first_look(Spec())
    assert look.evaluation_images == look.calibration_images == sensitivity.COARSE_IMAGES
    assert sensitivity.first_look(SMALL.replace(evaluation_images=20)).evaluation_images == 20
    assert max(sensitivity.COARSE) >= 0.95, "of the slider that asks for a budget"


def test_the_budget_is_compared_where_the_repair_does_not_apply() -> None:
    base, library = SMALL.replace(model="convnext-digits"), Library()
    rivals = sensitivity.rivals(base, 0.5, {"head": 0.5})
    points = {spec: point(diagnose(spec, library)) for spec in rivals.values()}
    told = sensitivity.compared(base, 0.5, rivals, points)
    assert told.tables["Allocations"].accuracy.max() == max(each.score("pruned") for each in points.values())


def test_a_budget_is_chosen_without_a_look_at_the_images_that_judge_it() -> None:
    library = Library()
    images = library.images(SMALL)
    chosen_by = sensitivity.alone(SMALL, trace_of(SMALL, library).layers, [0.5])
    judged = sensitivity.rivals(SMALL.replace(evaluation_split="train"), 0.5, {"conv1": 0.5})
    seen = {tuple(picture.flatten().tolist()) for spec in chosen_by[:1] for picture in evaluation(spec, images).pixels}
    test = {tuple(picture.flatten().tolist()) for picture in images.test.pixels}
    assert len(seen) > 10 and not seen & test
    assert {spec.evaluation_split for spec in chosen_by} == {"train"}
    assert {spec.evaluation_split for spec in judged.values()} == {"test"}
