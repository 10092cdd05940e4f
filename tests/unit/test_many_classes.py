"""A thousand classes: the most predicted by name, the same for every variant, the others as one, no share as 0."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.diagnosis.result import Outcome, outcome
from reflow_core.diagnosis.shown_classes import FEW, MOST_PREDICTED, shown_classes
from reflow_core.diagnosis.verdict import verdict
from reflow_core.images.classes import match
from reflow_core.lab.sweep import pack
from reflow_core.networks.catalog import find
from reflow_core.networks.own import own
from reflow_core.networks.zoo import classes_of_imagenet, synsets
from reflow_core.numbers import percent, whole_percent
from reflow_core.present.figures.collapse import answered
from reflow_core.signal.predictions import Predictions

CLASSES = 1000
N = 500


def predicted(labels: np.ndarray[Any, Any]) -> Predictions:
    return Predictions(labels, np.full(len(labels), 0.004, dtype=np.float32), None)


@pytest.fixture(scope="module")
def thousand(library: Library) -> Diagnosis:
    """A diagnosis of a thousand classes: a real one of digits, with a collapsed network's predictions put in."""
    real = diagnose(Spec(evaluation_images=N, calibration_images=32), library)
    generator = np.random.default_rng(0)
    labels = np.arange(N) % 350
    collapsed = np.where(generator.random(N) < 0.28, 750, generator.integers(740, 760, N))
    repaired = np.where(generator.random(N) < 0.7, labels, generator.integers(0, CLASSES, N))
    predictions = {"dense": predicted(labels), "pruned": predicted(collapsed), "repaired": predicted(repaired)}
    return dataclasses.replace(
        real, classes=classes_of_imagenet(), labels=labels, predictions=predictions, recalibrated_dense=None
    )


@given(some.lists(some.lists(some.integers(0, 30), min_size=25, max_size=25), min_size=1, max_size=3))
def test_what_is_shown_is_the_most_predicted_and_adds_up(histograms: list[list[int]]) -> None:
    outcomes = [
        made(np.repeat(np.arange(25), [count + (k == 3) for k, count in enumerate(each)])) for each in histograms
    ]
    shown = shown_classes(outcomes)
    share = sum(np.array(each.histogram) / each.n for each in outcomes)
    assert isinstance(share, np.ndarray)
    assert len(shown.indices) == min(MOST_PREDICTED, int((share > 0).sum())) and shown.rest == 25 - len(shown.indices)
    hidden = [share[k] for k in range(25) if k not in shown.indices]
    ordered = [share[k] for k in shown.indices]
    assert ordered == sorted(ordered, reverse=True) and min(ordered) >= max(hidden)
    assert all(sum(shown.counts(each)) == each.n for each in outcomes)


def made(labels: np.ndarray[Any, Any], classes: int = 25) -> Outcome:
    each = predicted(labels)
    return outcome(each, None, each, classes)


def test_a_few_classes_keep_their_order() -> None:
    shown = shown_classes([made(np.array([2, 2, 2, 0]), FEW)])
    assert shown.indices == tuple(range(FEW)) and shown.rest == 0
    assert shown.counts(made(np.array([2, 2, 2, 0]), FEW))[:3] == [1, 0, 3]


def test_the_pack_of_a_sweep_holds_ten_names_and_the_rest(thousand: Diagnosis) -> None:
    packed = pack(thousand)
    assert len(packed["bars"]) == MOST_PREDICTED + 1 and packed["bars"][-1] == "990 others"
    assert packed["bars"][0] == classes_of_imagenet()[750] == "quilt"
    assert {len(counts) for counts in packed["histogram"].values()} == {MOST_PREDICTED + 1}
    assert all(sum(counts) == N for counts in packed["histogram"].values())
    assert packed["histogram"]["pruned"][0] > 0.25 * N > 10 > packed["histogram"]["dense"][0]
    assert len(json.dumps(packed["histogram"])) < 500, "a hundred points are sent at once"


def test_the_verdict_names_the_class_and_says_what_the_images_are_like(thousand: Diagnosis) -> None:
    first = verdict(thousand).evidence[0].replace("\u00a0", " ")
    assert "“quilt”" in first and "(an even spread would give 0.1 %)" in first
    own = 2 ** (lambda p: -(p * np.log2(p)).sum())(np.bincount(np.arange(N) % 350) / N)
    assert thousand.images_effective_classes == pytest.approx(own)
    assert f"effective classes of 1,000 (the images themselves: {own:.1f})" in first


def test_the_figure_of_a_report_shows_the_same_rows_for_every_variant(thousand: Diagnosis) -> None:
    drawn = answered({"": thousand})
    rows = {trace.name: list(trace.y) for trace in drawn.figure.data}
    assert set(rows) == {"dense", "pruned", "repaired"} and len({tuple(each) for each in rows.values()}) == 1
    assert len(rows["dense"]) == len(set(rows["dense"])) == MOST_PREDICTED + 1
    assert drawn.table.groupby("variant").share.sum().tolist() == pytest.approx([1, 1, 1])
    beside = answered({"A": thousand, "B": dataclasses.replace(thousand, labels=None)})
    assert len({tuple(trace.y) for trace in beside.figure.data}) == 1


def test_two_classes_of_one_name_are_two_rows() -> None:
    classes = ["crane", *(f"kind {k}" for k in range(1, 99)), "crane"]
    names = shown_classes([made(np.array([0, 0, 99, 99]), 100)]).names(classes)
    assert names == ["crane (0)", "crane (99)", "98 others"], "and none that nobody predicts"


@pytest.mark.parametrize("share", [0.0, 1e-9, 1 / 5000, 0.0004999, 0.0005, 0.00951, 0.25, 1.0])
def test_a_share_above_0_is_never_shown_as_0(share: float) -> None:
    for text in (percent(share), whole_percent(share)):
        number = float(text.replace("\u00a0", " ").removesuffix(" %").removeprefix("< "))
        assert (number > 0) == (share > 0) and (text.startswith("<") or abs(number - 100 * share) <= 0.5)
    assert percent(1 / 5000).replace("\u00a0", " ") == "< 0.1 %"


def test_a_thousand_classes_called_by_synsets_have_imagenets_names(tmp_path: Any) -> None:
    (tmp_path / "net.py").write_text("import torch\ndef build():\n    return torch.nn.Conv2d(3, 1000, 1)\n")
    info = own("net.py:build", tmp_path / "net.py")
    given = tuple(sorted(synsets())[:4])
    named = match(given, info, "pictures")
    assert named.classes == classes_of_imagenet() and named.order == tuple(synsets()[each] for each in given)
    by_number = match(("0", "750"), info, "pictures")
    assert by_number.classes == info.classes, "numbers say nothing about whose they are"
    other = dataclasses.replace(find("resnet50"), classes=tuple(f"kind {k}" for k in range(CLASSES)))
    assert match(given, other, "pictures").classes == other.classes, "names that were given stay"
    assert torch.tensor(named.order).unique().numel() == 4
