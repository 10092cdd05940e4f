"""Rare classes: what a cut that hardly shows overall costs those of which training had few images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import ReflowError
from reflow_core.production.claims import Tested, Trial, claim
from reflow_core.production.claims.intervals import Estimate, judged, lost_by, together, weighted
from reflow_core.spec import DEFAULTS, MOST_IMAGES

LONGTAIL = "resnet20-digits-longtail"
IMBALANCED = 3.0  # times as many images of the commonest class as of the rarest, from which a set has rare classes
MUCH, LITTLE = 0.45, 0.25  # of the early channels
OVERALL, EXCESS, FINE = 0.03, 0.05, 0.05
HIDDEN = (
    f"at 45 %, at most {100 * OVERALL:.0f} points lost overall and at least {100 * EXCESS:.0f} more on the rarer "
    f"half; at 25 %, at most {100 * FINE:.0f} there, by the intervals"
)


@claim("rare", "Cutting 45 % of the early channels costs 1 point overall but 12 on rare classes; cutting 25 % is fine")
def rare(trial: Trial) -> Tested:
    """The rarer half of the classes against the commoner half, by their training images; all test images, repaired.

    On the network at hand if its training images have a long tail, else on one that ships, was trained on a long tail
    and is tested on as many images of every class.
    """
    place = fields_with_a_tail(trial)
    much, little = (trial.diagnosed(trial.cut(share, **place)) for share in (MUCH, LITTLE))
    if much.labels is None:
        raise ReflowError("The images have no labels.")
    counts = training_counts(trial, **place)
    rarer = np.isin(much.labels, rarer_half(counts))
    whole = overall(much, counts)
    scarce, common = (lost_by(much, much.last, of) for of in (rarer, ~rarer))
    mild, excess = lost_by(little, little.last, rarer), scarce.minus(common)
    verdict = hidden(whole, excess, mild)
    measured = (
        f"{much.spec.model}, {counts.max()} to {counts.min()} training images a class, {len(much.labels)} test "
        f"images, {much.last}: with 45 % cut, the overall loss is {whole} (class frequencies as in training), "
        f"{scarce} on the rarer half of the classes and {common} on the more common half ({excess} more); with 25 "
        f"% cut, the rarer half loses {mild}. {judged(verdict, HIDDEN)}"
    )
    return Tested(verdict, measured, {"Rare classes": by_class(much, little, counts)})


def fields_with_a_tail(trial: Trial) -> dict[str, Any]:
    """The fields that take the trial's spec to the network that ships; none where its own training set has a tail."""
    counts = training_counts(trial)
    if len(counts) > 1 and counts.max() >= IMBALANCED * max(1, counts.min()):
        return {}
    view = DEFAULTS["calibration_view"]
    return {"model": LONGTAIL, "data": "auto", "calibration_view": view, "evaluation_images": MOST_IMAGES}


def overall(cut: Diagnosis, counts: NDArray[np.int64]) -> Estimate:
    """What is lost where classes come as often as in training: that is the number which is watched in service."""
    assert cut.labels is not None
    there = np.unique(cut.labels)
    shares = counts[there] / counts[there].sum()
    return weighted([lost_by(cut, cut.last, cut.labels == label) for label in there], shares.tolist())


def hidden(overall: Estimate, excess: Estimate, mild: Estimate) -> str:
    """Holds where little is lost overall, much more on rare classes, and little on them by the milder cut.

    `excess`: the rarer half's loss minus the commoner half's. `mild`: the rarer half's loss at the milder cut.
    """
    return together(overall.at_most(OVERALL), excess.at_least(EXCESS), mild.at_most(FINE))


def training_counts(trial: Trial, **changes: Any) -> NDArray[np.int64]:
    """Training images by class (K,) of the trial's spec with changes; empty without labels."""
    images = trial.source.images(trial.spec.replace(**changes))
    if images.train.labels is None:
        return np.zeros(0, dtype=np.int64)
    return np.bincount(images.train.labels.numpy(), minlength=len(images.classes))


def rarer_half(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The half of the classes (rounded down) with the fewest training images."""
    return np.argsort(counts, kind="stable")[: len(counts) // 2]


def by_class(much: Diagnosis, little: Diagnosis, counts: NDArray[np.int64]) -> pd.DataFrame:
    """Each class with its training and test images and what it loses at both shares (fractions)."""
    assert much.labels is not None
    rows = []
    for label in np.unique(much.labels).tolist():
        of = much.labels == label
        row = {"class": much.classes[label], "training images": int(counts[label]), "test images": int(of.sum())}
        for share, cut in ((MUCH, much), (LITTLE, little)):
            row[f"lost at {100 * share:.0f} %"] = lost_by(cut, cut.last, of).value
        rows.append(row)
    return pd.DataFrame(rows)
