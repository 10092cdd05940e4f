"""The spread over seeds, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.point import point
from reflow_core.numbers import percent
from reflow_core.production.draws import draws, spread


def test_seeds_differ_in_their_calibration_images_and_the_spread_is_theirs() -> None:
    library, base = Library(), Spec(sparsity=0.9, calibration_images=16, evaluation_images=700)
    specs = draws(base, 3)
    assert [spec.seed for spec in specs] == [0, 1, 2] and specs[0] == base
    points = {spec: point(diagnose(spec, library)) for spec in specs}
    scores = [points[spec].score("repaired") for spec in specs]
    assert len({points[spec].score("dense") for spec in specs}) == 1  # the same test images
    assert len(set(scores)) > 1
    finding = spread(base, points)
    assert finding.facts["std"] == pytest.approx(float(np.std(scores, ddof=1)))
    assert f"{percent(min(scores))} to {percent(max(scores))}" in finding.answer
    assert finding.tables["Seeds"].repaired.tolist() == scores
    assert spread(base, {base: points[base]}).answer.startswith("The other seeds")
