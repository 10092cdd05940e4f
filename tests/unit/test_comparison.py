"""Two diagnoses side by side: the differences, the paired test, and figures on one axis."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.numbers import points_between
from reflow_core.present.figures.collapse import accuracies, answered, ratios
from reflow_core.production.comparison import chance, compared, paired

A = Spec(repair="none", evaluation_images=200, sparsity=0.7)
B = Spec(sparsity=0.85, evaluation_images=200, calibration_images=64)


@pytest.fixture(scope="module")
def pair(library: Library) -> tuple[Diagnosis, Diagnosis]:
    return diagnose(A, library), diagnose(B, library)


def test_every_field_that_differs_is_named_and_no_other(pair: tuple[Diagnosis, Diagnosis]) -> None:
    fields = compared(*pair).tables["What differs"].set_index("field")
    assert set(fields.index) == {"repair", "sparsity", "calibration_images"}
    assert fields.loc["sparsity"].tolist() == ["0.7", "0.85"]


def test_the_gain_is_of_the_last_arms_and_its_p_value_is_the_binomial_one(pair: tuple[Diagnosis, Diagnosis]) -> None:
    a, b = pair
    assert b.repaired is not None and b.repaired.accuracy is not None and a.pruned.accuracy is not None
    found = compared(a, b)
    assert found.facts["gain"] == pytest.approx(b.repaired.accuracy - a.pruned.accuracy)
    right = a.predictions["pruned"].predicted == a.labels, b.predictions["repaired"].predicted == b.labels
    wins, losses = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    assert found.facts["p"] == pytest.approx(binomtest(min(wins, losses), wins + losses).pvalue)
    assert "points better than A" in found.answer and "sparsity 0.7 → 0.85" in found.answer
    numbers = found.tables["Numbers"].set_index("what")
    np.testing.assert_allclose(
        (numbers["B"] - numbers["A"]).to_numpy(dtype=float), numbers["B - A"].to_numpy(dtype=float)
    )


def test_other_images_are_not_paired(pair: tuple[Diagnosis, Diagnosis], library: Library) -> None:
    other = diagnose(B.replace(seed=1), library)
    assert paired(*pair) and not paired(pair[0], other)
    assert chance(pair[0], other) is None and "the images differ" in compared(pair[0], other).answer


def test_the_same_view_twice_is_said(pair: tuple[Diagnosis, Diagnosis]) -> None:
    assert compared(pair[0], pair[0]).answer.startswith("A and B are the same view")


def test_figures_of_two_views_share_their_axes(pair: tuple[Diagnosis, Diagnosis]) -> None:
    views = dict(zip("AB", pair, strict=True))
    for drawn in (accuracies(views), ratios(views), answered(views)):
        layout = drawn.figure.layout
        assert layout.yaxis2.matches == "y" and layout.yaxis.range is not None
        assert drawn.message and "A" in drawn.message and set(drawn.table["view"]) == {"A", "B"}
    table = answered(views).table
    np.testing.assert_allclose(table.groupby(["view", "variant"]).share.sum(), 1)


def test_a_difference_is_of_what_is_shown() -> None:
    assert points_between(0.99143, 0.13571) == "85.5 points"  # 99.1 % and 13.6 %; the exact difference is 85.57
    assert points_between(0.5, 0.5) == "0.0 points"
