"""The levels of a verdict: their borders, and that intervals decide, on counts made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.diagnosis import verdict as rules
from reflow_core.diagnosis.statistics import paired_difference, wilson
from reflow_core.diagnosis.verdict import (
    COLLAPSED,
    DEGRADED,
    HEALTHY,
    NOT_RECOVERED,
    PARTLY,
    RECOVERED,
    THRESHOLDS,
    Standing,
    level,
    level_of_repair,
    standing,
    status,
    verdict,
)
from reflow_core.signal.predictions import Predictions
from tests.e2e.browser import ROOT

N, CLASSES = 700, 10
STEP = 1e-9


def at(loss: float = 0.3, most: float = 0.4, low: float = 0.6) -> Standing:
    return Standing(loss, most, low, chance=0.1, dense=0.9)


def test_a_network_is_healthy_up_to_either_bound_of_its_loss() -> None:
    assert level(at(loss=0.02)) == level(at(most=0.05)) == HEALTHY
    assert level(at(loss=0.02 + STEP, most=0.05 + STEP)) == DEGRADED


def test_a_network_has_collapsed_where_its_interval_comes_near_chance() -> None:
    floor = 0.1 + 0.1 * (0.9 - 0.1)
    assert level(at(low=floor)) == COLLAPSED and level(at(low=floor + STEP)) == DEGRADED
    assert level_of_repair(at(low=floor), 0.5) == NOT_RECOVERED and level_of_repair(at(low=floor + STEP), 0.5) == PARTLY


def test_a_repair_that_gains_nothing_for_certain_has_not_recovered() -> None:
    assert level_of_repair(at(), STEP) == PARTLY and level_of_repair(at(), 0.0) == NOT_RECOVERED
    assert level_of_repair(at(loss=0.02), 0.0) == RECOVERED


@pytest.fixture(scope="module")
def real(library: Library) -> Diagnosis:
    return diagnose(Spec("vgg-digits", evaluation_images=96, calibration_images=32), library)


def counted(real: Diagnosis, **right: int) -> Diagnosis:
    """The same with so many of N images predicted rightly by each variant: the first ones, all others wrong."""
    labels = np.arange(N) % CLASSES
    predictions = {
        variant: Predictions(np.where(np.arange(N) < n, labels, (labels + 1) % CLASSES), np.ones(N, np.float32), None)
        for variant, n in right.items()
    }
    classes = tuple("0123456789")
    return dataclasses.replace(real, classes=classes, labels=labels, predictions=predictions, recalibrated_dense=None)


@pytest.mark.parametrize(
    ("pruned", "repaired", "wanted", "said"),
    [
        (690, None, HEALTHY, "stays at 98.6 %"),
        (500, None, DEGRADED, "falls to 71.4 %"),
        (69, None, COLLAPSED, "falls to 9.9 %"),
        (69, 694, RECOVERED, "REFLOW recovers it to 99.1 %"),
        (95, 549, PARTLY, "REFLOW recovers only part of it: 78.4 %"),
        (69, 105, NOT_RECOVERED, "REFLOW does not recover it: 15.0 %"),
        (500, 502, NOT_RECOVERED, "REFLOW does not help: 71.7 %"),
        (690, 650, HEALTHY, "with REFLOW 92.9 %"),
    ],
)
def test_what_is_said_of_counts(real: Diagnosis, pruned: int, repaired: int | None, wanted: str, said: str) -> None:
    """78.4 % was called rescued, and 15.0 % a part."""
    right = {"dense": 694, "pruned": pruned} | ({} if repaired is None else {"repaired": repaired})
    diagnosis = counted(real, **right)
    assert status(diagnosis) == wanted
    assert said in verdict(diagnosis).headline.replace("\u00a0", " ")


def test_where_a_variant_stands_is_its_paired_and_its_wilson_interval(real: Diagnosis) -> None:
    diagnosis = counted(real, dense=694, pruned=500)
    assert diagnosis.labels is not None
    dense, pruned = (each.predicted == diagnosis.labels for each in diagnosis.predictions.values())
    stands = standing(diagnosis, "pruned")
    assert (stands.loss, stands.most) == paired_difference(dense, pruned)[::2]
    assert stands.low == wilson(500, N)[0] and stands.chance == 0.1 and stands.dense == 694 / N


def test_without_labels_agreement_with_dense_is_judged(real: Diagnosis) -> None:
    bare = dataclasses.replace(counted(real, dense=694, pruned=500, repaired=690), labels=None)
    assert standing(bare, "dense").loss == 0.0 and standing(bare, "pruned").loss == pytest.approx(194 / N)
    assert status(bare) == RECOVERED


def test_a_dense_network_at_chance_is_no_measure(real: Diagnosis) -> None:
    """Accuracy says nothing there: what agrees with dense is judged."""
    assert status(counted(real, dense=60, pruned=60)) == HEALTHY
    assert standing(counted(real, dense=60, pruned=660), "pruned").loss == pytest.approx(600 / N)


def test_the_thresholds_shown_are_those_that_decide() -> None:
    text = THRESHOLDS.replace("\u00a0", " ")
    assert f"at most {100 * rules.SMALL_LOSS:.1f} points" in text
    assert f"at most {100 * rules.LARGEST_LOSS:.1f} points" in text
    assert f"chance plus {100 * rules.NEAR_CHANCE:.0f} %" in text
    document = (ROOT / "docs" / "metrics.md").read_text()
    for number in (f"{100 * rules.SMALL_LOSS:.1f} points", f"{100 * rules.LARGEST_LOSS:.1f} points", "plus 10 %"):
        assert number in text and number in document
    names = (HEALTHY, DEGRADED, COLLAPSED, RECOVERED, PARTLY, NOT_RECOVERED)
    assert all(name in text.lower() and f"| {name} |" in document for name in names)
