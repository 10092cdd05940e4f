"""The claims of the product, on real networks and real images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from reflow_core import Diagnosis, Library, Spec, diagnose
from reflow_core.diagnosis.fields import normalize
from reflow_core.networks.catalog import find
from reflow_core.sources.access import EVERYTHING

TABLE = {0.5: (0.98, 0.98, 0.71), 0.7: (0.98, 0.82, 0.30), 0.8: (1.02, 0.68, 0.17), 0.9: (0.99, 0.43, 0.032)}


def last_ratio(found: Diagnosis, variant: str = "pruned") -> float:
    ratio = found.layers[-1].variance_ratio(variant)
    assert ratio is not None
    return ratio


def test_digits_resnet_collapses_at_80_percent_and_reflow_brings_it_back(library: Library) -> None:
    found = diagnose(Spec(), library)
    assert found.dense.accuracy is not None and found.dense.accuracy >= 0.99
    assert found.pruned.accuracy is not None and found.pruned.accuracy <= 0.20
    assert found.pruned.top_share >= 0.90
    assert last_ratio(found) < 0.3
    assert found.repaired is not None and found.repaired.accuracy is not None and found.repaired.accuracy >= 0.93


@pytest.mark.parametrize("model", ["mobilenet-digits", "resnext-digits", "vgg-digits"])
def test_every_batchnorm_network_collapses_and_comes_back(library: Library, model: str) -> None:
    found = diagnose(Spec(model=model, sparsity=find(model).collapse_at), library)
    assert found.repaired is not None
    pruned, repaired = found.pruned.accuracy, found.repaired.accuracy
    assert pruned is not None and repaired is not None
    assert pruned <= 0.3
    assert repaired >= pruned + 0.4


def test_without_batchnorm_reflow_says_why_it_does_not_apply(library: Library) -> None:
    found = diagnose(Spec(model="convnext-digits"), library)
    assert found.repaired is None
    assert found.reason is not None and "no BatchNorm" in found.reason
    assert len(found.layers) == 8


def cifar(
    model: str, library: Library, images: Path, sparsity: float, view: str = "train", repair: str = "reflow"
) -> Diagnosis:
    spec = Spec(model, str(images), sparsity=sparsity, calibration_images=1024, evaluation_images=600)
    return diagnose(normalize(spec, calibration_view=view, repair=repair), library)


@pytest.fixture(scope="module")
def public(cifar_weights: Path) -> functools.partial[Diagnosis]:
    return functools.partial(cifar, f"resnet20-cifar10@{cifar_weights}", Library(EVERYTHING))


@pytest.mark.parametrize("sparsity", TABLE)
def test_variance_ratios_of_the_public_resnet_equal_the_measured_table(
    public: Callable[..., Diagnosis], cifar_images: Path, sparsity: float
) -> None:
    found = public(cifar_images, sparsity, repair="none")
    assert found.dense.accuracy == pytest.approx(0.916, abs=0.025)
    ratios = [found.layers[place].variance_ratio("pruned") for place in (0, 9, 18)]
    assert ratios == pytest.approx(TABLE[sparsity], rel=0.15)


def test_calibration_sees_what_training_saw(public: Callable[..., Diagnosis], cifar_images: Path) -> None:
    train, clean = (public(cifar_images, 0.8, view).repaired for view in ("train", "eval"))
    assert train is not None and clean is not None
    assert train.accuracy is not None and clean.accuracy is not None
    assert train.accuracy >= 0.77
    assert train.accuracy >= clean.accuracy + 0.05


def test_at_90_percent_reflow_still_recovers_half(public: Callable[..., Diagnosis], cifar_images: Path) -> None:
    repaired = public(cifar_images, 0.9).repaired
    assert repaired is not None and repaired.accuracy is not None and repaired.accuracy >= 0.45
