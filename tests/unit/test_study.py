"""Studies: the split against a regression, the rows against the diagnoses."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import Library, Spec, diagnose
from reflow_core.cli.sweep import flat_row, markdown
from reflow_core.diagnosis.point import Point, point
from reflow_core.diagnosis.result import jaccard
from reflow_core.lab.study import configurations, doubling, outcomes, saturation, selection, split
from reflow_core.lab.sweep import along
from reflow_core.numbers import percent
from reflow_core.present.figures.studies import curves, gained, magnitude, matrix, overlap, saturating, signal

SMALL = Spec(calibration_images=32, evaluation_images=64)
CRITERIA, UPDATES, REPAIRS = ["magnitude", "snip"], ["none", "obs"], ["none", "reflow"]


@pytest.fixture(scope="module")
def points(library: Library) -> dict[Spec, Point]:
    specs = [at for one in configurations(SMALL, CRITERIA, UPDATES, REPAIRS) for at in along(one, [0.3, 0.8])]
    return {spec: point(diagnose(spec, library)) for spec in specs}


tables = some.tuples(some.integers(2, 6), some.integers(2, 6), some.integers(0, 99))


@given(tables)
def test_the_split_equals_the_sums_of_squares_of_a_regression(size: tuple[int, int, int]) -> None:
    rows, columns, seed = size
    values = np.random.default_rng(seed).random((rows, columns))
    found = split(pd.DataFrame(values))
    flat = values.ravel()
    row, column = np.divmod(np.arange(values.size), columns)

    def explained(*factors: np.ndarray) -> float:  # type: ignore[type-arg]
        design = np.column_stack([np.ones(values.size), *(np.eye(factor.max() + 1)[factor] for factor in factors)])
        fitted = design @ np.linalg.lstsq(design, flat, rcond=None)[0]
        return float(((fitted - flat.mean()) ** 2).sum())

    total = float(((flat - flat.mean()) ** 2).sum())
    assert found.total == pytest.approx(total)
    assert found.selection == pytest.approx(explained(row) / total, abs=1e-9)
    assert found.repair == pytest.approx(explained(column) / total, abs=1e-9)
    assert found.selection + found.repair + found.interaction == pytest.approx(1)


def test_a_table_with_holes_is_not_split() -> None:
    for broken in ([[0.1, np.nan], [0.2, 0.3]], [[0.1, 0.2]]):
        with pytest.raises(ValueError, match="two selections"):
            split(pd.DataFrame(broken))


def test_outcomes_have_each_configuration_once_and_the_pruned_network_as_repair_none(
    points: dict[Spec, Point],
) -> None:
    table = outcomes(points.values())
    assert len(table) == len(CRITERIA) * len(UPDATES) * len(REPAIRS) * 2
    assert not table.duplicated(["selection", "repair", "sparsity"]).any()
    assert set(table.selection) == {"magnitude", "magnitude + obs", "snip", "snip + obs"}
    assert ((table.low <= table.accuracy) & (table.accuracy <= table.high)).all()
    gain = gained(table, magnitude(table, unrepaired=False))
    assert (gain[gain.selection == "magnitude"].value == 0).all() and len(gain) == len(table)


def test_weight_updates_bring_back_part_of_the_signal(points: dict[Spec, Point]) -> None:
    bare = outcomes(points.values()).query("repair == 'none' and sparsity == 0.8").set_index("selection")
    assert bare.last_ratio["magnitude + obs"] > 2 * bare.last_ratio["magnitude"]
    assert bare.accuracy["magnitude + obs"] > bare.accuracy["magnitude"] + 0.3


def test_overlap_is_one_with_itself_less_with_others_and_exact_on_small_masks(points: dict[Spec, Point]) -> None:
    drawn = overlap({selection(spec.to_dict()): each for spec, each in points.items() if spec.sparsity == 0.8})
    values = drawn.table.drop(columns="selection").to_numpy()
    assert np.allclose(np.diag(values), 1) and (values <= 1).all() and np.allclose(values, values.T)
    assert values[0][2] < 0.9  # magnitude and snip
    assert jaccard(np.array([True, True, False]), np.array([True, False, True])) == pytest.approx(1 / 3)
    assert jaccard(np.zeros(3, bool), np.zeros(3, bool)) == 1


def test_every_figure_draws_what_the_rows_say_and_tells_it(points: dict[Spec, Point]) -> None:
    table = outcomes(points.values())
    cells = [
        each
        for spec, each in points.items()
        if (spec.criterion, spec.update, spec.repair) == ("magnitude", "none", "reflow")
    ]
    bases = (None, magnitude(table, unrepaired=False), magnitude(table, unrepaired=True))
    for base, measure in itertools.product(bases, ("variance ratio", "CKA")):
        drawn = curves(table, cells, "repaired", measure, base)
        heat = next(trace for trace in drawn.figure.data if trace.type == "heatmap")
        assert np.shape(heat.customdata) == (19, 2)
        told = cells[1].cka if measure == "CKA" else cells[1].ratio
        assert heat.customdata[-1][1] == pytest.approx(told["repaired"][-1])
        assert "magnitude with REFLOW" in drawn.message
    at = table[table.sparsity == 0.8]
    drawn = matrix(at)
    assert list(drawn.figure.data[0].x) == REPAIRS and len(drawn.figure.data[0].y) == 4
    best = at.loc[at.accuracy.idxmax()]
    assert percent(best.accuracy) in drawn.message
    assert signal(at).message


def test_the_gain_is_over_the_magnitude_that_one_asked_for(points: dict[Spec, Point]) -> None:
    table = outcomes(points.values())
    at = table[(table.sparsity == 0.8) & (table.selection == "magnitude")].set_index("repair").accuracy
    for unrepaired, wanted in ((False, 0.0), (True, 100 * (at["reflow"] - at["none"]))):
        rows = gained(table, magnitude(table, unrepaired))
        own = rows[(rows.sparsity == 0.8) & (rows.selection == "magnitude") & (rows.repair == "reflow")]
        assert own.value.tolist() == pytest.approx([wanted])
    assert wanted > 10


def test_the_table_for_a_readme_has_each_score_with_its_interval(library: Library) -> None:
    specs = configurations(SMALL, ["snip"], ["none", "obs"], ["reflow"])
    rows = [flat_row(diagnose(spec, library)) for spec in specs]
    text = markdown(pd.DataFrame(rows))
    low, high = 100 * rows[0]["pruned_low"], 100 * rows[0]["pruned_high"]
    assert len(text.splitlines()) == 2 + len(rows)
    assert f"| {100 * rows[0]['pruned_accuracy']:.1f} ({low:.1f} to {high:.1f}) |" in text
    assert "| snip + obs | 80 % | reflow |" in text


def test_saturation_is_the_fewest_images_within_a_point_of_the_best() -> None:
    table = pd.DataFrame(
        {"calibration_images": [16, 16, 32, 64, 128], "accuracy": [0.5, 0.7, 0.895, 0.9, 0.9], "view": "train"}
    )
    assert saturation(table) == 32
    assert saturation(table.iloc[:0]) is None
    assert "train 32" in saturating(table, "view").message
    assert list(doubling(100)) == [16, 32, 64, 100] and list(doubling(1097)) == [16, 32, 64, 128, 256, 512, 1097]
