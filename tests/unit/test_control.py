"""The control: it is silent where network, images and view belong together, and speaks where they do not."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reflow_core as rc
from reflow_core import Library, Spec, diagnose
from reflow_core.cli.diagnose import as_text
from reflow_core.diagnosis.control import doubt_of
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.result import to_json
from reflow_core.lab.codec import decode, encode
from reflow_core.numbers import percent
from reflow_core.present.report import of_diagnosis, tables_of
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Network
from reflow_core.watch import ignore

SHARED = Path(__file__).resolve().parents[3] / "shared"
WEIGHTS, IMAGES = SHARED / "weights" / "resnet20-12fca82f.th", SHARED / "data" / "cifar10_sample.npz"
PUBLIC = {"model": f"resnet20-cifar10@{WEIGHTS}", "data": str(IMAGES), "evaluation_images": 600}
needs_public = pytest.mark.skipif(not (WEIGHTS.is_file() and IMAGES.is_file()), reason="the public network is not here")
NETWORKS = [
    pytest.param({"model": "resnet20-digits"}, id="shipped"),
    pytest.param(PUBLIC, id="public", marks=needs_public),
]


class Misread(Library):
    """Reads every network's images under another normalization than it was trained with."""

    def network(self, name: str) -> Network:
        """The network, misread."""
        network = super().network(name)
        return dataclasses.replace(network, info=dataclasses.replace(network.info, mean=(0.1,) * 3, std=(0.7,) * 3))


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(EVERYTHING)


def quick(**fields: Any) -> Spec:
    return Spec(**{"calibration_images": 256, "evaluation_images": 700, "repair": "none"} | fields)


def test_the_control_is_reflow_on_the_dense_network(library: Library) -> None:
    spec = quick(calibration_images=64, evaluation_images=100, repair="reflow")
    diagnosis = diagnose(spec, library)
    with Experiment.open(spec, library, ignore) as experiment:
        network = copy.deepcopy(experiment.network.module)
        rc.reflow(network, [experiment.pruner.calibration.inputs])
        with torch.inference_mode():
            expected = network(experiment.inputs(slice(0, 100))).argmax(1).numpy()
    assert diagnosis.recalibrated_dense is not None and diagnosis.control is not None
    assert np.array_equal(diagnosis.recalibrated_dense.predicted, expected)
    assert diagnosis.control.accuracy == pytest.approx(float((expected == diagnosis.labels).mean()))


@pytest.mark.parametrize("fields", NETWORKS)
def test_where_all_belongs_together_it_is_silent(fields: dict[str, Any], library: Library) -> None:
    seed = 3  # `python -m tests.benchmarks control` tries twenty
    assert doubt_of(diagnose(quick(seed=seed, **fields), library)) is None


@pytest.mark.parametrize("fields", NETWORKS)
def test_another_normalization_is_caught(fields: dict[str, Any]) -> None:
    diagnosis = diagnose(quick(**fields), Misread(EVERYTHING))
    assert diagnosis.control is not None and diagnosis.control.score > diagnosis.dense.score + 0.05
    doubt = doubt_of(diagnosis)
    assert doubt is not None and doubt.startswith("The stored BatchNorm statistics do not fit")
    assert diagnosis.notes[0] == doubt


@pytest.mark.parametrize("fields", NETWORKS)
def test_a_view_unlike_training_is_caught(fields: dict[str, Any], library: Library) -> None:
    diagnosis = diagnose(quick(**fields, calibration_view="imagenet", repair="reflow"), library)
    doubt = doubt_of(diagnosis)
    assert doubt is not None and doubt.startswith("The calibration images differ from")


@needs_public
def test_clean_calibration_of_a_network_trained_on_augmented_images_is_caught(library: Library) -> None:
    doubt = doubt_of(diagnose(quick(**PUBLIC, calibration_view="eval", repair="reflow"), library))
    assert doubt is not None and "lowers its accuracy" in doubt


@pytest.mark.parametrize("kept", [lambda diagnosis: diagnosis, lambda diagnosis: decode(encode(diagnosis))])
def test_the_json_has_it_beside_dense(kept: Callable[[Any], Any], library: Library) -> None:
    plain = to_json(kept(diagnose(quick(evaluation_images=200), library)))
    assert plain["control"].keys() == plain["dense"].keys()
    assert plain["control"]["n"] == 200 and plain["control"]["agreement_with_dense"] > 0.97


def test_it_is_computed_once_for_all_sparsities_and_repairs(library: Library) -> None:
    stages: list[str] = []

    def watch(stage: str, done: int, total: int) -> None:
        stages.append(stage)

    spec = quick(seed=11, evaluation_images=50, calibration_images=512)
    first = diagnose(spec, library, watch)
    assert "control" in stages
    stages.clear()
    second = diagnose(spec.replace(sparsity=0.5, repair="reflow"), library, watch)
    assert "control" not in stages
    assert first.recalibrated_dense is second.recalibrated_dense


def test_without_batchnorm_there_is_none(library: Library) -> None:
    diagnosis = diagnose(quick(model="convnext-digits", evaluation_images=50), library)
    assert diagnosis.control is None and to_json(diagnosis)["control"] is None and doubt_of(diagnosis) is None


def test_it_stands_beside_dense_in_the_report_and_on_the_command_line(library: Library) -> None:
    diagnosis = diagnose(quick(evaluation_images=200), library)
    assert diagnosis.control is not None
    shown = percent(diagnosis.control.score)
    assert of_diagnosis(diagnosis, "").numbers[0][2].endswith(f"recalibrated {shown}")
    assert tables_of(diagnosis)["Variants"].set_index("variant").accuracy["control"] == diagnosis.control.accuracy
    assert any(line.startswith("control") and shown in line for line in as_text(diagnosis).splitlines())
