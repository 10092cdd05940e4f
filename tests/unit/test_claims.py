"""Claims: each rule comes out either way, intervals against their definition, and the shipped networks end to end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.statistics import paired_difference, wilson
from reflow_core.images.digits import digits
from reflow_core.present.figures.learning import learning
from reflow_core.production.claims import (
    ARTICLE,
    ELSEWHERE,
    FAILS,
    HOLDS,
    OWN,
    UNDECIDED,
    Trial,
    claims,
    tally,
    try_claim,
)
from reflow_core.production.claims.attention import Slice, hides, matter
from reflow_core.production.claims.early import tolerate
from reflow_core.production.claims.intervals import Estimate, weighted
from reflow_core.production.claims.kernels import (
    GENERIC,
    SPARSE_CPU,
    batch_decides,
    no_speed,
    pays_only_above,
    two_four_pays,
)
from reflow_core.production.claims.layernorm import collapses
from reflow_core.production.claims.projection import only_by_broadcast
from reflow_core.production.claims.quantize import adds, right_order
from reflow_core.production.claims.rare import fields_with_a_tail, hidden
from reflow_core.production.claims.recovery import cannot_recover
from reflow_core.production.finding import to_json
from reflow_core.sources.library import card
from reflow_core.watch import ignore


def test_the_long_tailed_digits_thin_the_training_images_only(library: Library) -> None:
    name = "resnet20-digits-longtail"
    thinned, whole = library.images(Spec(model=name)), digits()
    assert thinned.train.labels is not None and whole.train.labels is not None
    counts = thinned.train.labels.bincount().tolist()
    assert counts == card(name)["training_images_by_class"] and min(counts) >= 10
    before = whole.train.labels.bincount().tolist()
    wanted = [round(count * 10 ** (-place / 9)) for place, count in enumerate(before)]
    assert counts == wanted, "Cao et al., arXiv 1906.07413, with a ratio of 10"
    assert torch.equal(thinned.test.pixels, whole.test.pixels)
    seen = {image.numpy().tobytes() for image in whole.train.pixels}
    assert all(image.numpy().tobytes() in seen for image in thinned.train.pixels)
    dense = diagnose(Spec(model=name, sparsity=0, repair="none"), library).dense
    assert (dense.n, dense.score) == (700, card(name)["accuracy"])


def at(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high)


QUIET = [Slice(str(label), 70, 1, 1) for label in range(9)]  # classes that lose nothing

# By claim: measurements by which it holds, by which it does not, and, where it rests on images, by which nobody knows.
PLANTED: dict[str, tuple[Callable[..., str], list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]]]] = {
    "rare": (
        hidden,
        [(at(0.0, 0.02), at(0.06, 0.2), at(0.0, 0.04))],
        [(at(0.04, 0.06), at(0.06, 0.2), at(0.0, 0.04)), (at(0.0, 0.02), at(0.0, 0.04), at(0.0, 0.04)),
         (at(0.0, 0.02), at(0.06, 0.2), at(0.06, 0.09)), (at(0.04, 0.06), at(0.0, 0.2), at(0.0, 0.09))],
        [(at(0.0, 0.02), at(0.01, 0.2), at(0.0, 0.04)), (at(0.0, 0.06), at(0.06, 0.2), at(0.0, 0.04))],
    ),
    "early-channels": (
        cannot_recover,
        [(at(0.05, 0.09), True)],
        [(at(0.0, 0.04), True), (at(0.0, 0.04), False)],
        [(at(0.03, 0.07), True), (at(0.06, 0.09), False)],
    ),
    "early-tolerance": (
        tolerate,
        [(at(-0.01, 0.01), at(-0.03, 0.0))],
        [(at(0.02, 0.04), at(0.0, 0.0)), (at(0.0, 0.0), at(0.02, 0.04))],
        [(at(0.0, 0.02), at(0.0, 0.0))],
    ),
    "zeros": (
        no_speed,
        [({"1": 0.9, "64": 1.0},), ({"1": 1.5, "64": 1.05},)],
        [({"1": 1.2, "64": 1.5},)],
        [],
    ),
    "cpu-crossover": (
        lambda crossover: pays_only_above(crossover, SPARSE_CPU),
        [({"1": 0.92, "64": None},), ({"1": 0.9, "64": 0.97},)],
        [({"1": 0.77, "64": 0.95},), ({"1": None, "64": None},)],
        [],
    ),
    "generic": (
        lambda crossover: pays_only_above(crossover, GENERIC),
        [({"1": 0.98, "64": None},)],
        [({"1": 0.92, "64": 0.98},), ({"1": None, "64": None},)],
        [],
    ),
    "batch": (batch_decides, [(2.5, 0.95)], [(2.5, 1.2), (1.1, 0.9)], []),
    "two-four": (two_four_pays, [([1.9, 1.6, 1.4], 1.4)], [([1.9, 1.6, 1.4], 1.0), ([1.2, 1.3], 1.4)], []),
    "prune-quantize": (
        adds,
        [(at(0.03, 0.07),)],
        [(at(-0.01, 0.01),), (at(0.08, 0.2),)],
        [(at(0.02, 0.06),), (at(0.04, 0.08),)],
    ),
    "order": (
        right_order,
        [([at(0.05, 0.2), at(-0.01, 0.01)],)],
        [([at(-0.01, 0.01), at(-0.01, 0.01)],), ([at(0.05, 0.2), at(-0.2, -0.05)],)],
        [([at(0.01, 0.2), at(-0.01, 0.01)],), ([at(0.05, 0.2), at(-0.04, 0.01)],)],
    ),
    "projection": (only_by_broadcast, [(9, 0)], [(0, 0), (9, 2)], []),
    "heads": (
        matter,
        [(at(-0.01, 0.01), [*QUIET, Slice("4", 70, 14, 0)]), (at(0.0, 0.02), [*QUIET, Slice("4", 700, 42, 2)])],
        [(at(-0.01, 0.01), QUIET), (at(0.03, 0.05), [*QUIET, Slice("4", 70, 14, 0)]),
         (at(-0.01, 0.01), [*QUIET, Slice("4", 700, 30, 2)])],
        [(at(-0.01, 0.01), [*QUIET, Slice("4", 70, 7, 0)]), (at(0.01, 0.03), [*QUIET, Slice("4", 70, 14, 0)])],
    ),
    "long-inputs": (
        hides,
        [(at(0.0, 0.02), at(0.1, 0.15))],
        [(at(0.0, 0.02), at(0.01, 0.05)), (at(0.03, 0.05), at(0.1, 0.15)), (at(0.01, 0.03), at(0.01, 0.05))],
        [(at(0.01, 0.03), at(0.1, 0.15)), (at(0.0, 0.02), at(0.05, 0.15))],
    ),
    "layernorm": (
        collapses,
        [(at(0.1, 0.2), False)],
        [(at(0.1, 0.2), True), (at(0.6, 0.7), False)],
        [(at(0.4, 0.6), False)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", claims.names())
def test_every_claim_can_hold_and_can_fail(name: str) -> None:
    rule, holding, failing, open_ones = PLANTED[name]
    assert holding and failing
    for measured, verdict in ((holding, HOLDS), (failing, FAILS), (open_ones, UNDECIDED)):
        for values in measured:
            assert rule(*values) == verdict, (name, values)


def test_no_claim_is_ascribed_to_the_article_that_is_not_in_it() -> None:
    said = {info.name for info in claims if info.paper.startswith(ARTICLE)}
    assert said == {
        "rare", "early-channels", "cpu-crossover", "batch", "two-four", "prune-quantize", "projection",
        "heads", "long-inputs"}  # fmt: skip
    assert {info.name for info in claims if info.paper == OWN} == {"zeros", "order", "layernorm"}


OF = "about pruning in production"


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [({HOLDS: 1, FAILS: 1, UNDECIDED: 1, ELSEWHERE: 1}, f"Of 4 claims {OF}, on this model and machine 1 holds, 1 does "
      "not, 1 is undecided, and 1 cannot be measured here."),
     ({HOLDS: 2, FAILS: 3}, f"Of 5 claims {OF}, on this model and machine 2 hold, 3 do not, 0 are undecided, and 0 "
      "cannot be measured here."),
     ({FAILS: 1}, f"One claim {OF} was tested: it does not hold on this model and machine.")],
)  # fmt: skip
def test_the_tally_is_english(counts: dict[str, int], sentence: str) -> None:
    assert tally(counts, sum(counts.values())) == sentence


def test_the_paired_interval_covers_the_true_difference_and_is_the_independent_one_without_correlation() -> None:
    generator, inside = np.random.default_rng(0), 0
    shares = [0.88, 0.07, 0.02, 0.03]  # both right, only the first, only the second, neither
    for _ in range(1000):
        drawn = generator.choice(4, 300, p=shares)
        difference, low, high = paired_difference((drawn == 0) | (drawn == 1), (drawn == 0) | (drawn == 2))
        assert low <= difference <= high
        inside += low <= 0.05 <= high
    assert 0.935 <= inside / 1000 <= 0.98
    one, other = np.repeat([True, False], 50), np.tile([True, False], 50)  # independent: the correlation is 0
    found = paired_difference(one, other)
    reach = math.sqrt(2) * (wilson(50, 100)[1] - 0.5)
    assert found == pytest.approx((0.0, -reach, reach), rel=0.03)
    half = Estimate(0.5, *wilson(50, 100))
    gap = half.minus(half)
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.0, -reach, reach))


def test_a_weighted_mean_of_equal_parts_is_narrower_by_the_square_root() -> None:
    found = weighted([at(0.0, 0.2)] * 4, [0.25] * 4)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.05, 0.15))


def test_a_claim_about_speed_says_when_other_work_disturbed_it(
    library: Library, quick_timing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Spec("vgg-digits", evaluation_images=32, calibration_images=16)
    for most, marked in ((-1.0, True), (1e9, False)):
        monkeypatch.setattr("reflow_core.production.timing.BUSY", most)
        measured = try_claim("cpu-crossover", spec, library).facts["measured"]
        assert ("Timed while other work ran" in measured) == marked
    assert measured.startswith("End to end, the network as CSR with 85 % zeros runs ")
    assert "Timed" not in try_claim("layernorm", spec, library).facts["measured"]


def test_rare_classes_are_those_that_training_had_few_images_of(library: Library) -> None:
    finding = try_claim("rare", Spec(), library)
    table = finding.tables["Rare classes"].set_index("class")
    assert table["training images"].tolist() == card("resnet20-digits-longtail")["training_images_by_class"]
    assert table["test images"].sum() == 700 and table["test images"].min() > 50, "tests are balanced"
    late, early = (table["lost at 45 %"].iloc[part].mean() for part in (slice(5, 10), slice(0, 5)))
    assert late > early + 0.05, "the rarer half pays"
    assert "resnet20-digits-longtail, 102 to 11 training images a class" in finding.answer
    own = Trial(Spec(model="resnet20-digits-longtail"), library, ignore)
    assert fields_with_a_tail(own) == {}, "a long tail of one's own is tested on itself"


def test_the_order_decides_where_ranges_are_taken_before_the_repair(library: Library) -> None:
    found = try_claim("order", Spec("resnext-digits", evaluation_images=400, calibration_images=128), library)
    assert found.facts["verdict"] == HOLDS, found.answer


def test_a_fault_in_the_projection_runs_with_one_channel_only(library: Library) -> None:
    told = try_claim("projection", Spec(), library).facts["measured"]
    assert "Left with one channel, 9 of 10 layers run" in told and "30 % cut, 0 of 10" in told


def test_a_fine_tune_ends_when_it_is_flat_and_its_curve_is_shown(library: Library) -> None:
    found = try_claim("early-channels", Spec(evaluation_images=100, calibration_images=128), library)
    curve = found.tables["Learning curve"]
    assert curve.kept.sum() == 1 and curve["held out"].min() >= 0.99 * curve[curve.kept]["held out"].item()
    assert f"after {len(curve) - 1} epochs over 128 training images" in found.answer
    drawn = learning(curve)
    assert f"to {curve[curve.kept]['held out'].item():.3f} at epoch" in drawn.message
    json.dumps(to_json(found), allow_nan=False)
