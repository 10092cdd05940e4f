"""Which sparsity is computed next, and that a sweep follows what it has learned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import Diagnosis, Library, Spec
from reflow_core.lab import request as requests
from reflow_core.lab.curve import EVEN, next_to_compute
from reflow_core.lab.pool import Pool
from reflow_core.lab.request import Context, Request
from reflow_core.lab.store import Store
from reflow_core.lab.sweep import SCRUB, Sweep, along, coarse_first, drawn_of_pack, pack, scrub, where_curves_bend
from tests.waiting import until

SMALL = Spec(evaluation_images=16, calibration_images=16)


def cliff(at: float, width: float) -> dict[float, list[float | None]]:
    """A curve that falls from 1 to 0 around `at`."""
    return {sparsity: [0.5 - 0.5 * math.tanh((sparsity - at) / width)] for sparsity in SCRUB}


def replayed(curve: dict[float, list[float | None]], count: int) -> list[float]:
    """The first `count` sparsities of a curve, each chosen when those before are known."""
    known: dict[float, list[float | None]] = {}
    while len(known) < count:
        (chosen,) = next_to_compute(known, curve)
        known[chosen] = curve[chosen]
    return list(known)


def worst(curve: dict[float, list[float | None]], chosen: list[float]) -> float:
    """The largest error of the lines between the chosen, judged by NumPy."""
    truth = np.array([curve[at] for at in SCRUB], dtype=float)
    at = sorted(chosen)
    lines = [np.interp(SCRUB, at, [float(curve[each][column] or 0) for each in at]) for column in range(truth.shape[1])]
    return float(np.abs(truth.T - lines).max())


def test_ends_and_middle_come_first_and_every_sparsity_once() -> None:
    order = replayed(cliff(0.8, 0.02), len(SCRUB))
    assert order[:3] == [0.0, 0.99, 0.5] and sorted(order) == list(SCRUB)


@pytest.mark.parametrize("at", [0.15, 0.55, 0.7, 0.83, 0.92])
def test_nine_points_find_a_cliff_wherever_it_is(at: float) -> None:
    """Six points halve fifty intervals to one or two; nine evenly spread leave it between two far apart."""
    curve = cliff(at, 0.001)
    chosen = replayed(curve, 9)
    around = min(right - left for left, right in itertools.pairwise(sorted(chosen)) if left <= at <= right)
    assert around <= 0.02 + 1e-9
    assert worst(curve, chosen) < 0.4 < worst(curve, coarse_first(SCRUB)[:9])


@given(
    some.dictionaries(some.integers(0, 40), some.lists(some.floats(0, 1), min_size=2, max_size=2), min_size=3),
    some.integers(1, 4),
)
def test_the_interval_split_is_the_one_an_exhaustive_search_finds(
    measured: dict[int, list[float | None]], count: int
) -> None:
    """The oracle scores every open place by the interval around it, written without intervals."""
    measured |= {0: measured.get(0, [0.0, 0.0]), 40: measured.get(40, [0.0, 0.0]), 20: measured.get(20, [1.0, 0.0])}
    known = {float(at): values for at, values in measured.items()}
    chosen = next_to_compute(known, map(float, range(41)), count)
    taken, lines = set(measured), {at: _on_lines(measured, at) for at in range(41)}
    for at in chosen:
        scores = {place: _score(place, taken, lines) for place in range(41) if place not in taken}
        assert at not in taken and scores[int(at)] == pytest.approx(max(scores.values()))
        left, right = max(t for t in taken if t < at), min(t for t in taken if t > at)
        assert at == (left + right) // 2
        taken.add(int(at))
    assert len(chosen) == min(count, 41 - len(measured))


def _score(place: int, taken: set[int], lines: dict[int, list[float]]) -> float:
    left, right = max(each for each in taken if each < place), min(each for each in taken if each > place)
    change = max(abs(a - b) for a, b in zip(lines[left], lines[right], strict=True))
    return (change + EVEN) * (right - left) ** 0.5


def _on_lines(measured: dict[int, list[float | None]], place: int) -> list[float]:
    left, right = max(at for at in measured if at <= place), min(at for at in measured if at >= place)
    share = (place - left) / max(right - left, 1)
    return [
        (1 - share) * float(a or 0) + share * float(b or 0)
        for a, b in zip(measured[left], measured[right], strict=True)
    ]


def test_what_is_pending_is_not_asked_for_again_and_splits_its_interval() -> None:
    known: dict[float, list[float | None]] = {0.0: [1.0], 0.5: [1.0], 0.99: [0.0]}
    (first,) = next_to_compute(known, SCRUB)
    assert first == 0.74
    assert next_to_compute(known, SCRUB, 3) == [first, *next_to_compute(known, SCRUB, 2, pending=[first])]
    assert next_to_compute({}, SCRUB, 2, pending=[0.0]) == [0.99, 0.5]
    assert next_to_compute(cliff(0.5, 0.1), SCRUB) == []


def test_a_value_that_was_not_measured_at_one_sparsity_hides_no_other() -> None:
    known: dict[float, list[float | None]] = {0.0: [1.0, 1.0], 0.5: [0.9, None], 0.99: [0.9, 0.0], 0.25: [0.9]}
    assert next_to_compute(known, SCRUB) == [0.74]


def test_configurations_take_turns_and_each_curve_is_split_where_it_bends() -> None:
    """Two curves with cliffs of their own; a third request is of another kind."""
    cliffs = {"magnitude": cliff(0.2, 0.01), "random": cliff(0.8, 0.01)}
    specs = [SMALL.replace(criterion=name, sparsity=at) for name in cliffs for at in SCRUB]
    asked = [*map(Request, specs), Request(SMALL, inspection="portrait")]
    points: dict[Request, Any] = {}
    while len(points) < 19:
        (each,) = where_curves_bend(lambda point: point)(points, asked, (), 1)
        points[each] = [0.0] if each.inspection else cliffs[each.spec.criterion][each.spec.sparsity]
    by_name = {
        name: [r.spec.sparsity for r in points if r.spec.criterion == name and not r.inspection] for name in cliffs
    }
    assert {name: len(chosen) for name, chosen in by_name.items()} == {"magnitude": 9, "random": 9}
    assert by_name == {name: replayed(curve, 9) for name, curve in cliffs.items()}


@pytest.fixture
def pool(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A sweep that is looked at once goes on, however slow the machine."""
    monkeypatch.setattr("reflow_core.lab.sweep.ABANDONED_S", 1e9)
    made = Pool(Context(library, Store(tmp_path)), workers=1)
    yield made
    made.close()


def test_a_sweep_computes_in_the_order_that_its_points_ask_for_without_being_looked_at(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one look the next is queued when one is done; the oracle replays the finished sweep."""
    computed = _counted(monkeypatch)
    sweep = scrub(SMALL, pool)
    sweep.look()
    assert until(lambda: len(sweep.points) >= 12)
    sweep.stop()
    order = list(sweep.points)[:12]
    assert [each.spec for each in order] == computed[:12]
    known: dict[float, Any] = {}
    for each in order:
        assert next_to_compute(known, SCRUB) == [each.spec.sparsity]
        known[each.spec.sparsity] = drawn_of_pack(sweep.points[each])


def test_what_the_store_has_comes_first_and_is_not_computed_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in along(SMALL, [0.31, 0.77]):
        Request(spec).answer(pool.context)
    computed = _counted(monkeypatch)
    sweep = scrub(SMALL, pool)
    sweep.look()
    assert until(lambda: len(sweep.points) >= 4)
    sweep.stop()
    assert [each.spec.sparsity for each in sweep.points][:4] == [0.31, 0.77, 0.0, 0.99]
    assert computed[:2] == along(SMALL, [0.0, 0.99])


def test_what_a_person_had_computed_is_learned_and_stays_one_point(pool: Pool) -> None:
    wanted = Request(SMALL.replace(sparsity=0.42))
    sweep = scrub(SMALL, pool)
    sweep.learn(wanted, answer := wanted.answer(pool.context))
    sweep.learn(Request(SMALL.replace(seed=1)), answer)
    assert list(sweep.points) == [wanted] and sweep.points[wanted] == pack(answer)


def test_several_at_once_where_the_background_computes_several(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "behind", 3)
    sweep = Sweep([Request(at) for at in along(SMALL)], pool, pack, choose=where_curves_bend(drawn_of_pack))
    sweep.look()
    assert [each.spec.sparsity for each in sweep._shared.waiting] == [0.0, 0.99, 0.5]
    sweep.stop()


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    computed: list[Spec] = []
    really = requests.diagnose

    def counted(spec: Spec, *rest: Any) -> Diagnosis:
        computed.append(spec)
        return really(spec, *rest)

    monkeypatch.setattr(requests, "diagnose", counted)
    return computed
