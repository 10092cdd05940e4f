"""The frontier of repairs: against a scan over budgets; what the picture shows is what was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.point import Point, point
from reflow_core.lab.frontier import BESIDE, HIGH, candidates, inapplicable, pareto, sparsities
from reflow_core.lab.study import outcomes
from reflow_core.numbers import percent, seconds
from reflow_core.present.figures import COLORS
from reflow_core.present.figures.frontier import frontier, named
from reflow_core.present.figures.studies import color
from reflow_core.repairs import repairs
from reflow_core.spec import ONE_SHOT, STAGED

SMALL = Spec(sparsity=0.9, evaluation_images=64, calibration_images=32)
TRIED = ("reflow", "norm-rescale", "repair-fuse", "least-squares")


@pytest.fixture(scope="module")
def points(library: Library) -> list[Point]:
    wanted = [spec for spec in candidates(SMALL) if spec.repair in TRIED and spec.sparsity in (0.8, 0.9)]
    return [point(diagnose(spec, library)) for spec in wanted]


@given(some.lists(some.tuples(some.integers(0, 6), some.integers(0, 6)), max_size=12))
def test_on_the_frontier_is_what_some_budget_buys_first(pairs: list[tuple[int, int]]) -> None:
    """For each budget: of what it can pay, the most accurate, and of these the quickest. Nothing else is on it."""
    bought = set()
    for budget in range(7):
        payable = [(-accuracy, spent) for spent, accuracy in pairs if spent <= budget]
        bought |= {(spent, -negated) for negated, spent in [min(payable)]} if payable else set()
    found = pareto([spent for spent, _ in pairs], [accuracy for _, accuracy in pairs])
    assert found.tolist() == [pair in bought for pair in pairs]


def test_every_registered_repair_is_tried_at_each_sparsity_and_those_that_fit_weights_in_stages_too() -> None:
    tried = [(spec.sparsity, spec.repair) for spec in candidates(SMALL) if spec.stages == ONE_SHOT]
    assert tried == [(at, name) for at in HIGH for name in repairs.names() if name != "none"]
    staged = [(spec.sparsity, spec.repair) for spec in candidates(SMALL) if spec.stages == STAGED]
    assert staged == [(at, name) for at in HIGH for name in ("least-squares", "distill")]


@pytest.mark.parametrize(
    ("own", "shown"), [(0.5, (0.5, 0.8, 0.9)), (0.8, HIGH), (0.85, (0.8, 0.85, 0.9)), (0.97, (0.9, 0.95, 0.97))]
)
def test_a_sparsity_stands_between_its_neighbors(own: float, shown: tuple[float, ...]) -> None:
    assert sparsities(Spec(sparsity=own)) == shown and len(shown) == 1 + BESIDE


def test_a_pattern_has_its_own_sparsity_only_and_no_stages() -> None:
    specs = candidates(Spec(pattern="2:4"))
    assert len(specs) == len(repairs.names()) - 1 and {spec.stages for spec in specs} == {ONE_SHOT}


def test_the_picture_has_each_measured_repair_once_a_panel_with_its_seconds_and_interval(points: list[Point]) -> None:
    rows = outcomes(points)
    drawn = frontier(rows, inapplicable(points))
    marks = [trace for trace in drawn.figure.data if trace.mode == "markers" and trace.xaxis]
    shown = {(trace.xaxis, trace.name): (*trace.x, *trace.y) for trace in marks}
    assert len(shown) == len(marks) == len(rows) == 2 * 5
    for row in rows.itertuples():
        name, panel = named(row.repair, row.stages), {0.8: "x", 0.9: "x2"}[row.sparsity]
        assert shown[panel, name] == pytest.approx((max(row.seconds, 1e-3), row.accuracy))
        told = next(trace.hovertext[0] for trace in marks if (trace.xaxis, trace.name) == (panel, name))
        assert percent(row.low) in told and percent(row.high) in told
    assert {trace.name: trace.marker.color for trace in marks}["REFLOW"] == COLORS["repaired"] == color("reflow")
    legend = [trace.name for trace in drawn.figure.data if trace.showlegend is not False]
    assert sorted(legend) == sorted({trace.name for trace in drawn.figure.data}), "each once"
    assert {trace.marker.symbol for trace in marks if "in stages" in trace.name} == {"star"}
    assert {trace.marker.symbol for trace in marks if "in stages" not in trace.name} == {"circle"}


def test_stages_cost_what_all_of_them_took(points: list[Point]) -> None:
    rows = outcomes(points).query("repair == 'least-squares' and sparsity == 0.9").set_index("stages")
    by_spec = {each.spec.stages: each for each in points if each.spec.repair == "least-squares"}
    last = by_spec[STAGED].seconds["calibrate"]
    assert rows.seconds[STAGED] > 2 * last, "the stages before count too"
    assert rows.seconds[STAGED] == pytest.approx(by_spec[STAGED].seconds["prune"] + last)


def test_the_message_names_the_frontier_its_seconds_and_what_does_not_apply(points: list[Point]) -> None:
    drawn = frontier(outcomes(points), inapplicable(points))
    for row in drawn.table.itertuples():
        said = f"{row.name} {percent(row.accuracy)} ({seconds(row.seconds)})"
        assert (said in drawn.message) == (row.best and row.repair != "none")
    assert drawn.table.best.sum() >= 4, "in each panel the quickest and the most accurate"
    assert "REPAIR, fused does not apply. This network already has BatchNorm" in drawn.message


def test_without_labels_it_is_agreement_and_has_no_bars(points: list[Point]) -> None:
    unlabeled = outcomes(points).assign(low=np.nan, high=np.nan)
    drawn = frontier(unlabeled, {})
    assert drawn.figure.layout.yaxis.title.text == "agreement with dense"
    assert not any(trace.error_y.visible for trace in drawn.figure.data if trace.mode == "markers")
    assert frontier(pd.DataFrame(), {}).message == "No repair is computed yet."
