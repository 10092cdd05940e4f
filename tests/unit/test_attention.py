"""The attention network that ships: lengths, positions and heads against independent implementations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.diagnosis.statistics import mcnemar, paired_difference
from reflow_core.images.canvas import drawn_sides, on_canvas
from reflow_core.networks.catalog import find
from reflow_core.networks.vit import Attention, VisionTransformer, positions, tokens
from reflow_core.production.claims import FAILS, HOLDS, UNDECIDED, try_claim
from reflow_core.production.claims.attention import MODEL, Placed, Slice, superfluous
from reflow_core.production.claims.intervals import Estimate
from reflow_core.production.finding import to_json
from reflow_core.production.heads import Head, attentions, importance, silenced
from reflow_core.sources.library import card
from reflow_core.watch import ignore


@pytest.fixture(scope="module")
def vit(library: Library) -> nn.Module:
    return library.network(MODEL).module


@pytest.fixture(scope="module")
def inputs(library: Library) -> Tensor:
    return evaluation_inputs(library.images(Spec(MODEL)).test, find(MODEL))(slice(0, 40))


def test_the_card_says_what_the_network_does(library: Library) -> None:
    dense = diagnose(Spec(MODEL, sparsity=0, repair="none"), library).dense
    assert (dense.n, dense.score) == (700, card(MODEL)["accuracy"]) and dense.score >= 0.98
    assert sum(share for _, share in card(MODEL)["recipe"]["lengths"]) == pytest.approx(1)


@pytest.mark.parametrize(("size", "count"), [((16, 16), 16), ((24, 24), 36), ((40, 40), 100), ((16, 32), 32)])
def test_a_larger_image_is_more_tokens(size: tuple[int, int], count: int, vit: nn.Module) -> None:
    seen: list[int] = []
    network = VisionTransformer()
    network.blocks.register_forward_hook(lambda module, arriving, leaving: seen.append(arriving[0].shape[1]))
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 10)
    assert tokens(size) == count and seen == [count + 1], "and the class token"


def test_positions_are_those_of_the_place_at_any_size() -> None:
    table = positions(5, 7, 16)
    assert torch.equal(table, positions(9, 9, 16)[:, :5, :7])
    frequency = 2 * math.pi / 100 ** (2 / 4)  # the second of four
    assert float(table[1, 3, 6]) == pytest.approx(math.sin(3 * frequency), abs=1e-6)
    assert float(table[8 + 4 + 1, 3, 6]) == pytest.approx(math.cos(6 * frequency), abs=1e-6)
    flat = table.flatten(1)
    apart = torch.cdist(flat.T, flat.T) + torch.eye(35)
    assert float(apart.min()) > 0.1, "no two places are alike"


def by_hand(module: Attention, arriving: Tensor, without: set[int] = frozenset()) -> Tensor:  # type: ignore[assignment]
    """Attention head by head, softmax written out; heads in `without` are left out of the sum."""
    width, each = module.out.in_features, module.out.in_features // module.heads
    total = module.out.bias.expand(arriving.shape)
    for head in set(range(module.heads)) - without:
        query, key, value = (
            F.linear(arriving, module.qkv.weight[rows], module.qkv.bias[rows])
            for part in range(3)
            if (rows := slice(part * width + head * each, part * width + (head + 1) * each))
        )
        weights = (query @ key.transpose(1, 2) / math.sqrt(each)).softmax(2)
        total = total + weights @ value @ module.out.weight[:, head * each : (head + 1) * each].T
    return total


def test_a_silenced_head_is_a_forward_without_it(vit: nn.Module) -> None:
    name, module = list(attentions(vit).items())[1]
    arriving = torch.randn(3, 17, 64)
    with torch.inference_mode():
        torch.testing.assert_close(module(arriving), by_hand(module, arriving), rtol=1e-4, atol=1e-5)
        quiet = silenced(vit, [Head(name, 2), Head(name, 5)])
        found = attentions(quiet)[name](arriving)
    torch.testing.assert_close(found, by_hand(module, arriving, {2, 5}), rtol=1e-4, atol=1e-5)
    assert (found - module(arriving)).abs().max() > 0.01
    given: list[Tensor] = []
    attentions(quiet)[name].out.register_forward_pre_hook(lambda layer, into: given.append(into[0]))
    with torch.inference_mode():
        attentions(quiet)[name](arriving)
    each = 64 // module.heads
    assert not given[0][..., 2 * each : 3 * each].any() and given[0][..., 3 * each : 4 * each].all()
    assert all(attentions(vit)[name].out.weight[:, 2 * each].abs() > 0), "the shared network is left alone"


def test_importance_is_the_slope_of_the_loss_in_a_heads_scale(vit: nn.Module, library: Library, inputs: Tensor) -> None:
    labels = library.images(Spec(MODEL)).test.labels
    assert labels is not None
    images, labels = inputs[:4].double(), labels[:4]
    wide = silenced(vit, []).double()
    scores = importance(silenced(vit, []), [(inputs[:2], labels[:2]), (inputs[2:4], labels[2:4])])
    assert list(scores.values()) == sorted(scores.values()) and len(scores) == 24
    slopes = {head: sum(abs(slope(wide, head, images, labels, image)) for image in range(4)) for head in scores}
    for layer in attentions(vit):
        norm = math.hypot(*(value for head, value in slopes.items() if head.layer == layer))
        assert math.hypot(*(value for head, value in scores.items() if head.layer == layer)) == pytest.approx(1)
        for head in scores:
            if head.layer == layer:
                assert scores[head] == pytest.approx(slopes[head] / norm, rel=1e-2, abs=1e-4)


def slope(network: nn.Module, head: Head, images: Tensor, labels: Tensor, image: int, step: float = 1e-4) -> float:
    """The central difference of an image's loss where the head's columns of `out` are scaled."""
    out = attentions(network)[head.layer].out
    each = out.in_features // attentions(network)[head.layer].heads
    columns = slice(head.number * each, (head.number + 1) * each)
    before, losses = out.weight.detach().clone(), []
    for scale in (1 + step, 1 - step):
        out.weight[:, columns] = before[:, columns] * scale
        losses.append(float(F.cross_entropy(network(images[image : image + 1]), labels[image : image + 1])))
        out.weight.copy_(before)
    return (losses[0] - losses[1]) / (2 * step)


def test_a_canvas_holds_the_whole_picture_on_black() -> None:
    pixels, generator = torch.rand(50, 3, 16, 16) + 0.1, torch.Generator().manual_seed(0)
    large = on_canvas(pixels, 40, generator)
    assert large.shape == (50, 3, 40, 40)
    torch.testing.assert_close(large.sum((1, 2, 3)), pixels.sum((1, 2, 3)))
    tops = (large.sum((1, 3)) > 0).float().argmax(1)
    assert tops.min() <= 3 and tops.max() >= 21 and tops.max() <= 24
    assert torch.equal(on_canvas(pixels, 16, generator), pixels)
    sides = drawn_sides(((16, 0.5), (24, 0.3), (40, 0.2)), 5000, generator)
    assert [(sides == side).float().mean().item() for side in (16, 24, 40)] == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_images_keep_their_places_whatever_their_length(vit: nn.Module, library: Library, inputs: Tensor) -> None:
    seen, generator = inputs / 2 + 0.5, torch.Generator().manual_seed(0)
    placed = Placed.drawn(seen, ((16, 0.6), (24, 0.4)), find(MODEL), generator)
    whole = Placed.drawn(seen, ((16, 1.0),), find(MODEL), generator)
    with torch.inference_mode():
        expected = vit(inputs).argmax(1)
    assert whole.predicted(vit, ignore).tolist() == expected.tolist()
    short, which = next((group, group[0]) for group in placed.groups if group[1].shape[2] == 16)
    assert 10 < len(which) < 40
    assert torch.equal(short[1], inputs[which])
    assert placed.predicted(vit, ignore)[which.numpy()].tolist() == expected[which].tolist()


def test_as_many_heads_go_as_cost_what_may_be_lost(vit: nn.Module, library: Library, inputs: Tensor) -> None:
    labels = library.images(Spec(MODEL)).test[: len(inputs)].labels
    assert labels is not None
    placed = Placed.drawn(inputs / 2 + 0.5, ((16, 1.0),), find(MODEL), torch.Generator())
    ranked = list(importance(vit, placed.batches(labels)))
    gone, cost = superfluous(vit, ranked, placed, labels, 0.05, ignore)
    assert gone == tuple(ranked[: len(gone)]) and 0 < len(gone) < 24 and cost <= 0.05
    right = [(placed.predicted(each, ignore) == labels.numpy()).mean() for each in (vit, silenced(vit, gone))]
    assert right[0] - right[1] == pytest.approx(cost)
    further = placed.predicted(silenced(vit, ranked[: len(gone) + 1]), ignore) == labels.numpy()
    assert right[0] - further.mean() > 0.05


def test_heads_and_lengths_are_measured_by_slice(library: Library) -> None:
    spec = Spec(calibration_images=128, evaluation_images=200)
    found = {name: try_claim(name, spec, library) for name in ("heads", "long-inputs")}
    assert {each.facts["verdict"] for each in found.values()} <= {HOLDS, FAILS, UNDECIDED}
    slices = found["heads"].tables["Heads"].set_index("slice")
    assert slices["test images"][:10].sum() == 200 == slices["test images"]["100 tokens"] and len(slices) == 14
    lengths = found["long-inputs"].tables["Lengths"]
    assert lengths.tokens.tolist() == [16, 36, 64, 100] and (lengths.low <= lengths.lost).all()
    assert lengths.dense.iloc[0] > 0.98 and lengths.dense.iloc[-1] > 0.85
    assert "(mean length 33 tokens)" in found["long-inputs"].answer
    json.dumps([to_json(each) for each in found.values()], allow_nan=False)


def test_a_slice_is_judged_by_the_exact_paired_test() -> None:
    right = np.repeat([[True, False], [False, True], [True, True]], [9, 2, 50], axis=0)
    one = Slice("4", len(right), 9, 2)
    assert 2 * one.chance == pytest.approx(mcnemar(right[:, 0], right[:, 1]))
    assert Slice("4", 60, 0, 0).chance == 1 and Slice("4", 60, 3, 0).chance == 1 / 8
    assert Slice("4", 60, 0, 0).harmless and not one.harmless
    assert one.loss == Estimate(*paired_difference(right[:, 0], right[:, 1]))
