"""Previews: points of a sweep in bfloat16, which never stand for exact ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reflow_core.diagnosis import form, preview
from reflow_core.diagnosis.diagnose import diagnose
from reflow_core.diagnosis.form import Form
from reflow_core.diagnosis.point import point
from reflow_core.lab import codec, request
from reflow_core.lab.pool import Pool
from reflow_core.lab.request import Context, Request
from reflow_core.lab.store import Store
from reflow_core.lab.study import outcomes
from reflow_core.lab.sweep import Sweep, pack
from reflow_core.repairs import Calibration, estimators
from reflow_core.repairs.reflow import recalibrate
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from tests.waiting import until

SPEC = Spec(evaluation_images=200, calibration_images=64)
REQUESTS = [Request(SPEC.replace(sparsity=at)) for at in (0.3, 0.6, 0.8)]


@pytest.fixture
def context(library: Library, tmp_path: Path) -> Context:
    return Context(library, Store(tmp_path))


@pytest.fixture
def sweep(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep[dict[str, object]]]:
    """Of a network for which previews pay."""
    monkeypatch.setattr(request, "preview_pays", lambda spec, source: True)
    pool = Pool(context, workers=1)
    yield Sweep(REQUESTS, pool, pack, context, previews=True)
    pool.close()


def test_a_preview_is_near_what_is_exact(library: Library) -> None:
    exact, soon = diagnose(SPEC, library), diagnose(SPEC, library, preview=True)
    assert soon.preview and not exact.preview
    dense = [each.predictions["dense"].predicted for each in (exact, soon)]
    assert (dense[0] == dense[1]).all(), "dense is shared by all points, and computed in float32"
    for variant in ("pruned", "repaired"):
        same = exact.predictions[variant].predicted == soon.predictions[variant].predicted
        assert same.mean() > 0.93, variant
        for one, other in zip(exact.layers, soon.layers, strict=True):
            assert one.variance_ratio(variant) == pytest.approx(other.variance_ratio(variant), rel=0.1)
    assert (exact.predictions["repaired"].confidence != soon.predictions["repaired"].confidence).any()
    assert codec.decode(codec.encode(soon)).preview is True


def test_a_preview_leaves_the_exact_observations_alone(library: Library) -> None:
    other = SPEC.replace(seed=3)
    diagnose(other, library, preview=True)
    shared, own = diagnose(other, library), diagnose(other, Library())
    for variant, predictions in own.predictions.items():
        np.testing.assert_array_equal(predictions.confidence, shared.predictions[variant].confidence)


def test_each_block_computes_in_the_precision_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()

    class Noted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kinds.add((threading.current_thread().name, x.dtype))
            return x

    monkeypatch.setattr(estimators, "at_once", lambda inputs, device, most=4: 4)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), Noted()).eval()
    with form.precision(torch.device("cpu"), half=True):
        recalibrate(network, Calibration(torch.randn(16, 3, 8, 8)))
    assert kinds == {("reflow-block", torch.bfloat16)}
    assert network[1].running_mean.dtype == torch.float32


def test_a_preview_has_a_key_of_its_own(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "preview_pays", lambda spec, source: True)
    one = REQUESTS[0]
    assert one.exact_or_preview(context).preview
    assert one.stored(context) is None, "what a page opens is never a preview"
    exact = one.answer(context)
    assert not exact.preview
    np.testing.assert_array_equal(
        one.exact_or_preview(context).predictions["repaired"].confidence, exact.predictions["repaired"].confidence
    )


@pytest.mark.parametrize(("quick", "pays"), [(True, True), (False, False)])
def test_a_race_says_whether_bfloat16_pays(quick: bool, pays: bool, library: Library) -> None:
    class Sleepy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            threading.Event().wait(0.001 if torch.is_autocast_enabled("cpu") == quick else 0.02)
            return x.mean((2, 3))

    images = torch.randn(8, 3, 8, 8)
    assert form.half_pays(Sleepy(), Form(), lambda part: images[part], remember=False) is pays


def test_a_short_diagnosis_has_no_preview(context: Context) -> None:
    assert not preview.preview_pays(SPEC, context.library)
    assert not REQUESTS[0].exact_or_preview(context).preview


def test_a_sweep_shows_previews_until_the_exact_points_are_asked_for(sweep: Sweep[dict[str, object]]) -> None:
    until(lambda: sweep.look() == 1)
    assert sweep.previews == 3 and all(each["preview"] for each in sweep.points.values())
    sweep.compute_exactly()
    assert sweep.share < 1, "there is something to compute"
    until(lambda: sweep.look() == 1)
    assert sweep.previews == 0 and not any(each["preview"] for each in sweep.points.values())


def test_an_exact_point_takes_the_place_of_a_preview_and_never_the_other_way(
    sweep: Sweep[dict[str, object]], context: Context
) -> None:
    until(lambda: sweep.look() == 1)
    exact = REQUESTS[1].answer(context)
    sweep.learn(REQUESTS[1], exact)
    assert sweep.previews == 2 and not sweep.points[REQUESTS[1]]["preview"]
    sweep._shared.keep(REQUESTS[1], {"preview": True}, preview=True)
    assert not sweep.points[REQUESTS[1]]["preview"]


def test_a_table_says_which_rows_are_previews(library: Library) -> None:
    exact, soon = (point(diagnose(SPEC.replace(sparsity=at), library, preview=at > 0.5)) for at in (0.3, 0.8))
    assert "preview" not in outcomes([exact])
    rows = outcomes([exact, soon])
    assert list(rows.preview) == [at > 0.5 for at in rows.sparsity]
