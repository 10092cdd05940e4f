"""The control: REFLOW on the dense network, where it should change next to nothing, and what it means where it does."""

from __future__ import annotations

import dataclasses

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.statistics import mcnemar
from reflow_core.numbers import p_value, percent, points_between
from reflow_core.signal.predictions import Predictions

LEAST = 0.01  # of accuracy: a smaller difference is no cause for doubt, however certain it is
ALPHA = 0.05  # McNemar: a difference with a larger p value may be the choice of test images


def with_control(diagnosis: Diagnosis, control: Predictions | None) -> Diagnosis:
    """The diagnosis with the control's predictions and, first among its notes, the doubt that they raise."""
    whole = dataclasses.replace(diagnosis, recalibrated_dense=control)
    doubt = doubt_of(whole)
    return whole if doubt is None else dataclasses.replace(whole, notes=(doubt, *whole.notes))


def doubt_of(diagnosis: Diagnosis) -> str | None:
    """What is wrong where recalibrating the dense network changes its accuracy; None where it does not.

    A change is one of at least LEAST whose McNemar p value is under ALPHA. Without labels, training images or BatchNorm
    nothing can be said.
    """
    dense, control = diagnosis.dense.accuracy, None if diagnosis.control is None else diagnosis.control.accuracy
    if dense is None or control is None or diagnosis.recalibrated_dense is None:
        return None
    right = [
        each.predicted == diagnosis.labels for each in (diagnosis.predictions["dense"], diagnosis.recalibrated_dense)
    ]
    p = mcnemar(*right)
    if p >= ALPHA or abs(control - dense) < LEAST:
        return None
    change = f"from {percent(dense)} to {percent(control)} (same {diagnosis.dense.n} images, McNemar {p_value(p)})"
    if control > dense:
        return (
            "The stored BatchNorm statistics do not fit these images: recalibrating the unpruned network raises "
            f"its accuracy {change}. Until that is explained, not all of a repair's gain below is due to pruning. "
            "Check the normalization (mean and standard deviation) and whether these weights were trained on "
            "such images."
        )
    return (
        "The calibration images differ from the training images, or are too few: recalibrating the unpruned "
        f"network on them lowers its accuracy {change}, a loss of {points_between(dense, control)}. Choose the "
        "calibration view used in training, or more calibration images."
    )
