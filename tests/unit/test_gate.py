"""The release gate: its tests against independent implementations, its error rates by simulation, its sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from reflow_core.diagnosis import statistics
from reflow_core.errors import ReflowError
from reflow_core.numbers import percent
from reflow_core.production import gate
from reflow_core.production.gate import FAILS, PASSES, UNDECIDED, Limits

NETWORKS, IMAGES = 1000, 700


def likelihood_score(lost: int, won: int, n: int, difference: float) -> float:
    """Tango's statistic from its definition: the constrained maximum of the likelihood is found numerically."""
    same = n - lost - won

    def surprise(share: float) -> float:
        cells = (lost, share + difference), (won, share), (same, 1 - 2 * share - difference)
        return -sum(count * np.log(max(p, 1e-300)) for count, p in cells if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = optimize.minimize_scalar(surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return float((lost - won - n * difference) / np.sqrt(n * (2 * share + difference * (1 - difference))))


@pytest.mark.parametrize("counts", [(12, 2, 60), (3, 1, 70), (7, 9, 700), (5, 4, 40)])
@pytest.mark.parametrize("difference", [0.01, 0.05, 0.2])
def test_the_paired_score_is_that_of_the_constrained_likelihood(
    counts: tuple[int, int, int], difference: float
) -> None:
    assert statistics.paired_score(*counts, difference) == pytest.approx(
        likelihood_score(*counts, difference), abs=1e-4
    )


def test_without_a_difference_it_is_mcnemars() -> None:
    assert statistics.paired_score(12, 4, 100, 0.0) == pytest.approx((12 - 4) / np.sqrt(12 + 4))


def test_the_interval_holds_what_the_test_does_not_reject() -> None:
    for lost, won, n in ((12, 2, 60), (0, 0, 70), (9, 9, 200), (30, 0, 30), (0, 5, 40)):
        low, high = statistics.paired_interval(lost, won, n)
        assert low <= (lost - won) / n <= high
        for edge in (low, high):
            if abs(edge) < 1 - 1e-9:
                assert abs(statistics.paired_score(lost, won, n, edge)) == pytest.approx(statistics.Z95, abs=1e-3)


def test_quantile_tail_and_binomial_score_are_scipys() -> None:
    assert statistics.normal_quantile(0.997) == pytest.approx(stats.norm.ppf(0.997))
    assert statistics.upper_tail(1.3) == pytest.approx(stats.norm.sf(1.3))
    low, high = statistics.wilson(45, 60)
    for edge in (low, high):
        assert abs(statistics.proportion_score(45, 60, edge)) == pytest.approx(statistics.Z95)


def test_holm_steps_down() -> None:
    # 0.01 ≤ 0.05/4, 0.013 ≤ 0.05/3, 0.04 > 0.05/2 ends it; Bonferroni would reject one only.
    assert statistics.holm([0.04, 0.01, 0.013, 0.9], 0.05) == [False, True, True, False]
    assert statistics.holm([0.001, 0.01, 0.02], 0.05) == [True, True, True]


def network(rng: np.random.Generator, loss: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Dense right on 97 % of the images, and a network that loses these shares net, with 1 % the other way round."""
    dense = rng.random(len(loss)) < 0.97
    flipped = rng.random(len(loss))
    return dense, np.where(dense, flipped >= (loss + 0.01) / 0.97, flipped < 0.01 / 0.03)


def sliced(rng: np.random.Generator) -> dict[str, pd.Series]:
    """Eighteen slices in three partitions, as the page has."""
    return {by: pd.Series(rng.integers(0, count, IMAGES).astype(str)) for by, count in (("a", 10), ("b", 4), ("c", 4))}


def test_at_most_one_sound_network_in_twenty_fails() -> None:
    """Each network loses just what it may overall, and every slice the same: the point losses rejected 18 to 39 %."""
    rng = np.random.default_rng(0)
    failed = by_points = 0
    for _ in range(NETWORKS):
        checks = gate.judge(*network(rng, np.full(IMAGES, 0.01)), sliced(rng), Limits(0.01, 0.05))
        failed += gate.outcome(checks) == FAILS
        by_points += any(check.measured > check.limit for check in checks[1:])
    assert failed / NETWORKS <= 0.05
    assert by_points / NETWORKS > 0.1  # what was wrong with it


def test_a_slice_at_its_limit_is_seldom_said_to_break_it() -> None:
    """All slices lose exactly what a slice may: the largest chance of a false alarm in any of eighteen."""
    rng = np.random.default_rng(1)
    runs = [gate.judge(*network(rng, np.full(IMAGES, 0.05)), sliced(rng), Limits(0.06, 0.05)) for _ in range(400)]
    assert sum(gate.outcome(checks) == FAILS for checks in runs) / 400 <= 0.05


def test_a_true_loss_of_ten_points_on_sixty_images_does_not_pass() -> None:
    rng = np.random.default_rng(2)
    names = {"a": pd.Series(["rare"] * 60 + ["other"] * (IMAGES - 60))}
    loss = np.where(names["a"] == "rare", 0.10, 0.0)
    outcomes = []
    for _ in range(NETWORKS):
        checks = gate.judge(*network(rng, loss), names, Limits(0.05, 0.05))
        outcomes.append(next(check.outcome for check in checks if check.slice == "rare"))
    assert sum(each != PASSES for each in outcomes) / NETWORKS >= 0.95
    larger = [gate.judge(*network(rng, 3 * loss), names, Limits(0.05, 0.05)) for _ in range(200)]
    assert sum(gate.outcome(checks) == FAILS for checks in larger) / 200 >= 0.8  # thirty points are seen


def test_what_is_kept_by_far_passes_and_more_images_decide_what_is_not() -> None:
    right = np.ones(2000, dtype=bool)
    names = {"a": pd.Series(["x"] * 1950 + ["y"] * 50)}
    checks = gate.judge(right, right, names, Limits(0.01, 0.05))
    assert [check.outcome for check in checks] == [PASSES, PASSES, UNDECIDED]
    few = checks[-1]
    assert few.more is not None
    enough = {"a": pd.Series(["x"] * (1950 - few.more) + ["y"] * (50 + few.more))}
    assert gate.outcome(gate.judge(right, right, enough, Limits(0.01, 0.05))) == PASSES
    assert f"about {few.more} more such images would decide it" in few.sentence()
    nearly = {"a": pd.Series(["x"] * (1951 - few.more) + ["y"] * (49 + few.more))}
    assert gate.outcome(gate.judge(right, right, nearly, Limits(0.01, 0.05))) == UNDECIDED
    assert gate.outcome(gate.judge(right, right, names, Limits(0.0, 1.0))) == UNDECIDED  # no loss at all: never shown


def test_it_says_what_is_broken_with_its_interval_and_names_a_missing_slice() -> None:
    dense = np.ones(400, dtype=bool)
    variant = np.arange(400) >= 40  # the first hundred lose forty
    names = {"class": pd.Series(["cat"] * 100 + ["cow"] * 300)}
    checks = gate.judge(dense, variant, names, Limits(0.15, 0.05, floors={"class/cat": 0.9, "class/cow": 0.9}))
    assert [(check.slice, check.outcome) for check in checks] == [
        ("all", PASSES), ("cat", FAILS), ("cow", PASSES), ("cat", FAILS), ("cow", PASSES)
    ]  # fmt: skip
    assert (
        checks[1]
        .sentence()
        .startswith(f"class cat (n = 100) loses 40.0 points, {percent(1)} to {percent(0.6)} (95 % interval ")
    )
    assert checks[3].sentence().endswith(f"required: {percent(0.9)}")
    assert gate.outcome(checks) == FAILS
    assert gate.judge(dense, variant, names, Limits(least=101))[1].slice == "cow"
    with pytest.raises(ReflowError, match=r"There is no slice 'class/emu'; the slices are class/cat, class/cow"):
        gate.judge(dense, variant, names, Limits(floors={"class/emu": 0.5}))


@pytest.mark.parametrize("wrong", ["class/8", "8:0.5", "class/8:x", "class/8:1.5"])
def test_a_floor_that_is_none_is_named(wrong: str) -> None:
    assert gate.floors("class/8:0.95, rarity/a:b:0.5") == {"class/8": 0.95, "rarity/a:b": 0.5}
    with pytest.raises(ReflowError, match="BY/SLICE:FRACTION"):
        gate.floors(wrong)
