"""What repairs bring back beyond REFLOW, and for how much longer, also on networks that nothing was tuned on."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.statistics import mcnemar
from reflow_core.machine import prepare
from reflow_core.networks.catalog import find
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import SHIPPED
from reflow_core.spec import STAGED
from tests.benchmarks.core import SHARED, Row
from tests.benchmarks.forward import PICTURES

DRAWS = 5  # of the calibration images
WAYS = {
    "REFLOW": {"repair": "reflow"},
    "least squares": {"repair": "least-squares"},
    "staged least squares": {"repair": "least-squares", "stages": STAGED},
    "staged, distilled": {"repair": "distill", "stages": STAGED},
}
USUAL = "least squares"  # the best repair before
TIMES = {"staged least squares": 30.0, "staged, distilled": 150.0}  # of REFLOW's time, at most
ASKED = {
    ("staged least squares", 0.8): 91.0,
    ("staged least squares", 0.9): 82.0,
    ("staged least squares", 0.95): 65.0,
    ("staged, distilled", 0.8): 91.0,
    ("staged, distilled", 0.9): 84.0,
    ("staged, distilled", 0.95): 70.0,
}


@dataclass(frozen=True)
class Tried:
    """A way to repair at one sparsity: accuracies (%), one a draw, and seconds; `better`: draws in which McNemar's test
    finds it significantly better than USUAL.
    """

    accuracies: Sequence[float]
    seconds: float
    better: int

    @property
    def mean(self) -> float:
        """Over the draws, in %."""
        return statistics.mean(self.accuracies)

    def __str__(self) -> str:
        low, high = min(self.accuracies), max(self.accuracies)
        return f"{low:.1f} to {high:.1f}; better in {self.better} of {len(self.accuracies)} (McNemar, p < 0.05)"


def beyond_reflow() -> Iterator[Row]:
    """The public ResNet-20 on CIFAR-10, 512 unlabeled training images, 600 test images."""
    prepare()
    weights, data = SHARED / "weights" / "resnet20-12fca82f.th", SHARED / "data" / "cifar10_sample.npz"
    if not (weights.is_file() and data.is_file()):
        return
    base = Spec(f"resnet20-cifar10@{weights}", str(data), calibration_images=512, evaluation_images=600)
    for sparsity in (0.8, 0.9, 0.95):
        tried = tries(base.replace(sparsity=sparsity), WAYS, DRAWS)
        for way in ("REFLOW", USUAL):
            yield Row(f"public ResNet-20, {sparsity:.0%}: {way}", 0.0, tried[way].mean, False, str(tried[way]))
        for way, most in TIMES.items():
            yield Row(f"… {way}", ASKED[way, sparsity], tried[way].mean, False, str(tried[way]))
            yield Row("  its time / REFLOW's", most, tried[way].seconds / tried["REFLOW"].seconds)


def beyond_reflow_zoo() -> Iterator[Row]:
    """No shipped network is worse off than with the best repair before, where it collapses and above."""
    prepare()
    for name in (file.stem for file in sorted(SHIPPED.glob("*.safetensors"))):
        for sparsity in sorted({find(name).collapse_at, 0.9, 0.95}):
            tried = tries(Spec(name, sparsity=sparsity), WAYS, 1)
            best = max(tried["REFLOW"].mean, tried[USUAL].mean)
            for way in TIMES:
                note = f"{tried[way].mean:.1f} % against {best:.1f}"
                yield Row(f"{name}, {sparsity:.0%}: {way}, points", 0.0, tried[way].mean - best, False, note)


def beyond_reflow_imagenet() -> Iterator[Row]:
    """EfficientNet-Lite0 on 150 real pictures, calibrated on 150 others."""
    prepare()
    if not PICTURES.is_dir():
        return
    base = Spec("efficientnet-lite0", str(PICTURES), calibration_images=150, evaluation_images=150)
    for sparsity in (0.5, 0.6, 0.7):
        tried = tries(base.replace(sparsity=sparsity), {way: WAYS[way] for way in (*WAYS,)[:3]}, 1)
        for way in (USUAL, "staged least squares"):
            gain = tried[way].mean - tried["REFLOW"].mean
            note = f"{tried[way].mean:.1f} % against {tried['REFLOW'].mean:.1f}; {tried[way].seconds:.0f} s"
            yield Row(f"EfficientNet-Lite0, {sparsity:.0%}: {way}, points above REFLOW", 0.0, gain, False, note)


def tries(base: Spec, ways: dict[str, dict[str, str]], draws: int) -> dict[str, Tried]:
    """Each way over some draws of the calibration images, each from the start, so that its time is all its own."""
    found = {
        way: [diagnose(base.replace(seed=seed, **fields), Library(EVERYTHING)) for seed in range(draws)]
        for way, fields in ways.items()
    }
    return {way: _tried(diagnoses, found[USUAL]) for way, diagnoses in found.items()}


def _tried(diagnoses: Sequence[Diagnosis], usual: Sequence[Diagnosis]) -> Tried:
    pairs = [(_right(one), _right(other)) for one, other in zip(diagnoses, usual, strict=True)]
    seconds = [each.seconds["prune"] + each.seconds["calibrate"] for each in diagnoses]
    better = sum(mcnemar(one, other) < 0.05 and one.sum() > other.sum() for one, other in pairs)
    return Tried([100 * each.final.score for each in diagnoses], statistics.median(seconds), better)


def _right(diagnosis: Diagnosis) -> NDArray[np.bool_]:
    return np.asarray(diagnosis.predictions[diagnosis.last].predicted == diagnosis.labels)


BENCHMARKS = (beyond_reflow, beyond_reflow_zoo, beyond_reflow_imagenet)
