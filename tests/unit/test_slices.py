"""Slices: scikit-learn as the oracle of recall and confusion, a person's own columns."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.cli import main
from reflow_core.diagnosis.calibration import evaluation_order
from reflow_core.diagnosis.point import point
from reflow_core.errors import ReflowError
from reflow_core.production import slices
from reflow_core.production.gate import Limits

SPEC = Spec(sparsity=0.85, evaluation_images=200, calibration_images=128, evaluation_tail=4)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


@pytest.fixture(scope="module")
def found(library: Library) -> Diagnosis:
    return diagnose(SPEC, library)


def test_recall_precision_and_confusion_are_scikit_learns(found: Diagnosis) -> None:
    table = slices.by_class(found)
    for variant, answers in found.predictions.items():
        own = table[table.variant == variant]
        wanted = confusion_matrix(found.labels, answers.predicted, labels=range(10))
        np.testing.assert_array_equal(slices.confusion(found, variant), wanted)
        recall, precision = (
            score(found.labels, answers.predicted, labels=range(10), average=None, zero_division=np.nan)
            for score in (recall_score, precision_score)
        )
        np.testing.assert_allclose(own.recall.astype(float), recall)
        np.testing.assert_allclose(own.precision.astype(float), precision)


def test_every_kind_of_slice_is_a_partition_whose_mean_is_the_whole(found: Diagnosis, library: Library) -> None:
    also = slices.columns(SPEC, library.images(SPEC))
    table = slices.slices(found, also)
    assert {"class", "rarity", "confidence", "brightness", "contrast"} < set(table.by)
    whole = table.iloc[0]
    assert whole.repaired == found.repaired.accuracy  # type: ignore[union-attr]
    for _, parts in table.groupby("by"):
        assert parts.n.sum() == whole.n
        for variant in ("dense", "pruned", "repaired"):
            assert np.average(parts[variant], weights=parts.n) == pytest.approx(whole[variant])
    assert set(table[table.by == "rarity"].slice.str.split(",").str[0]) == {"rare", "between", "common"}


def row(by: str, name: str, n: int, dense: float, repaired: float) -> dict[str, object]:
    return {"by": by, "slice": name, "n": n, "dense": dense, "repaired": repaired, "lost_repaired": dense - repaired}


def test_columns_of_a_csv_follow_their_images(library: Library) -> None:
    images = library.images(SPEC)
    there = len(images.test)
    assert images.test.labels is not None
    whole = pd.DataFrame({"digit": [f"d{label}" for label in images.test.labels.tolist()], "value": range(there)})
    also = slices.columns(SPEC, images, io.BytesIO(whole.to_csv(index=False).encode()))
    order = evaluation_order(SPEC, images).tolist()
    assert also.value.tolist() == order
    some = whole.assign(image=whole.index).sample(50, random_state=0).drop(columns="value")
    also = slices.columns(SPEC, images, io.BytesIO(some.to_csv(index=False).encode()))
    assert [not pd.isna(word) for word in also.digit] == [number in set(some.image) for number in order]
    found = slices.slices(diagnose(SPEC, library), also)
    assert "missing" in set(found[found.by == "digit"].slice)
    for wrong, said in (("a\n1\n", f"1 rows and the data {there}"), ("image,a\n1,2\n1,3\n", "twice"), ("", "CSV")):
        with pytest.raises(ReflowError, match=said):
            slices.columns(SPEC, images, io.BytesIO(wrong.encode()))


def test_numbers_are_cut_into_quartiles_and_words_are_kept() -> None:
    assert slices.binned(pd.Series(range(100))).value_counts().tolist() == [25] * 4
    assert set(slices.binned(pd.Series([1, 2, 1, None]))) == {"1.0", "2.0", "missing"}
    many = slices.binned(pd.Series([f"w{number}" for number in range(40)]))
    assert (many == "other").sum() == 40 - slices.MOST_VALUES


def test_without_labels_it_is_said() -> None:
    import dataclasses

    found = dataclasses.replace(diagnose(SPEC, Library()), labels=None)
    with pytest.raises(ReflowError, match="need labeled"):
        slices.finding(found, None, Limits())


def test_corruptions_are_told_beside_clean(library: Library) -> None:
    base = SPEC.replace(evaluation_tail=1)
    points = {spec: point(diagnose(spec, library)) for spec in slices.shifted(base, ["noise"], [5])}
    table = slices.shifts(points)
    assert table.severity.tolist() == [5, 0] or sorted(table.severity) == [0, 5]
    told = slices.shift_finding(base, table)
    assert told.facts["worst"] == "noise:5"
    assert told.answer.startswith("On clean images the repaired network is")


def test_the_exit_status_is_the_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["slices", "--evaluation", "100", "--calibration", "64", "--sparsity", "0.85", "--json"]
    assert main([*own, "--max-drop", "0", "--floors", "class/1:1.0", "--arm", "pruned"]) == 1
    told = json.loads(capsys.readouterr().out)["slices"]
    assert not told["passed"]
    assert told["notes"][0].startswith("Not met: overall it loses")
    assert main([*own, "--max-drop", "1", "--slice-drop", "1"]) == 0
    assert main([*own, "--sparsity", "0.5", "--max-drop", "0.5", "--slice-drop", "0.01"]) == 3
    assert main([*own, "--floors", "class/x:1.0"]) == 2
