"""int8: the grid's error bound, SQNR in closed form, torch as the oracle of the exported file, orders and losses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import nn

from reflow_core import Library, Spec, diagnose
from reflow_core.cli import main
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import point
from reflow_core.errors import ReflowError
from reflow_core.images.image_set import ImageSet
from reflow_core.lab.study import largest
from reflow_core.present.figures.quantization import losses
from reflow_core.production import onnx_file
from reflow_core.production.inspections import inspections
from reflow_core.production.int8 import decibels, fast_int8, quantized, round_weights, rounded, sqnr
from reflow_core.signal.copies import clone_module
from reflow_core.spec import QUANTIZE_ORDERS
from reflow_core.watch import ignore

SPEC = Spec(sparsity=0.8, evaluation_images=200, calibration_images=64)


@given(some.integers(1, 5), some.integers(1, 7), some.floats(1e-6, 1e3))
def test_rounding_is_off_by_half_a_step_at_most_and_keeps_zeros(rows: int, inputs: int, scale: float) -> None:
    weight = scale * torch.randn(rows, inputs, 3, generator=torch.Generator().manual_seed(rows * inputs))
    weight[0, 0] = 0
    found = rounded(weight)
    step = weight.flatten(1).abs().amax(1) / 127
    assert bool(((found - weight).abs().flatten(1).amax(1) <= step / 2 * (1 + 1e-4)).all())
    assert bool((found[weight == 0] == 0).all())
    torch.testing.assert_close(rounded(found), found, rtol=1e-5, atol=0)


def test_decibels_are_ten_times_the_logarithm() -> None:
    signal = np.array([3.0, 4.0], dtype=np.float32)
    assert decibels(signal, signal + np.float32([0.0, 0.5])) == pytest.approx(10 * math.log10(25 / 0.25))
    assert decibels(signal, signal) == 200


@pytest.mark.parametrize("name", ["resnet20-digits", "resnext-digits", "convnext-digits", "vit-digits"])
def test_the_exported_network_answers_as_torchs_with_batchnorm_folded(name: str) -> None:
    network = Library().network(name).module
    images = torch.randn(5, 3, 16, 16)
    file = onnx_file.export(clone_module(network), images[:1])
    assert b"BatchNormalization" not in file
    with torch.inference_mode():
        wanted = network(images)
    torch.testing.assert_close(
        torch.from_numpy(onnx_file.run(onnx_file.session(file), images)), wanted, rtol=1e-3, atol=1e-4
    )


def test_the_error_of_a_layer_is_what_comparing_with_torch_gives() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(4 * 144, 3)
    ).eval()
    images = torch.randn(32, 3, 16, 16)
    file = onnx_file.export(network, images[:1])
    small = quantized(file, images)
    rows = sqnr(file, small, images, ["a", "b", "c"])
    assert [row["layer"] for row in rows] == ["a", "b", "c"]
    with torch.inference_mode():
        logits = network(images).numpy()
    wanted = decibels(logits, onnx_file.run(onnx_file.session(small), images))
    assert rows[-1]["sqnr_db"] == pytest.approx(wanted, abs=0.5)
    assert all(25 < row["sqnr_db"] < 70 for row in rows)  # eight bits are worth about fifty
    assert len(small) < 0.75 * len(file)  # of a tiny one, names and shapes are half


def scales(file: bytes) -> dict[str, float]:
    """The scale of every activation of an int8 file, by name."""
    graph = onnx.load_model_from_string(file).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {node.input[0]: float(values[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("name", ["resnet20-digits", "mobilenet-digits", "convnext-digits", "vit-digits"])
def test_ranges_are_onnxruntimes_own_or_those_of_the_dense_network(name: str, tmp_path: Path) -> None:
    library = Library()
    spec = SPEC.replace(model=name)
    with Experiment.open(normalize(spec), library, ignore) as experiment:
        example, images = experiment.inputs(slice(0, 1)), experiment.pruner.calibration.inputs
        networks = experiment.network.module, experiment.clone(experiment.prune())
        dense, pruned = (onnx_file.export(network, example) for network in networks)
    batches = iter(images.split(32))

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(batches, None)
            return None if batch is None else {"images": batch.numpy()}

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "reduce_range": not fast_int8()}
    wanted = tmp_path / "int8.onnx"
    quantize_static(onnx.load_model_from_string(pruned), wanted, Reader(), per_channel=True, **kinds)
    own, stale = quantized(pruned, images), quantized(pruned, images, dense)
    assert scales(own) == scales(wanted.read_bytes())
    assert scales(stale) == scales(quantized(dense, images)) != scales(own)
    answers = [onnx_file.run(onnx_file.session(file), images) for file in (own, wanted.read_bytes(), stale)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_ranges_of_another_network_are_refused() -> None:
    example, library = torch.zeros(1, 3, 16, 16), Library()
    one, other = (onnx_file.export(library.network(name).module, example) for name in ("vgg-digits", "resnet20-digits"))
    with pytest.raises(ReflowError, match="not of the same network"):
        quantized(one, example, other)


def test_losses_add_up_and_the_repair_stands_between() -> None:
    found = inspections["quantize"].function(SPEC, Library(), ignore)
    variants = found.tables["Losses"].set_index(["variant", "precision"])
    loss = found.facts["loss"]
    dense = variants.accuracy["dense", "float32"]
    assert loss["pruned_int8"] == pytest.approx(dense - variants.accuracy["pruned", "int8"])
    assert loss["pruned_int8_dense_ranges"] == pytest.approx(dense - variants.accuracy["pruned", "int8_dense_ranges"])
    added = found.facts["added"]["pruned_int8"]
    assert added[0] == pytest.approx(loss["pruned_int8"] - loss["pruned_float32"]) and added[1] <= added[0] <= added[2]
    assert f"{100 * loss['pruned_int8_dense_ranges']:.1f} with the dense network's activation ranges" in found.answer
    assert {"pruned + int8, dense ranges", "pruned + int8, own ranges"} <= set(losses(found).figure.data[0].y)
    assert found.facts["sum"] == pytest.approx(loss["pruned_float32"] + loss["dense_int8"])
    assert loss["repaired_int8"] < 0.2 < loss["pruned_int8"]
    assert found.facts["size"] < 0.5
    assert len(found.tables["Errors"]) == 20
    assert found.machine


@pytest.mark.parametrize("order", QUANTIZE_ORDERS[1:])
def test_other_orders_round_before(order: str, quick_timing: None) -> None:
    found = inspections["quantize"].function(SPEC.replace(quantize_order=order), Library(), ignore)
    assert found.facts["order"] == order
    assert found.facts["loss"]["repaired_int8"] < 0.2


def test_rounded_weights_lie_on_the_grid() -> None:
    network = clone_module(Library().network("vgg-digits").module)
    round_weights(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            rows = module.weight.flatten(1)
            steps = rows / (rows.abs().amax(1, keepdim=True) / 127)
            torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)


def test_without_training_images_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    images = library.images(SPEC)
    bare = ImageSet(images.name, images.train[slice(0, 0)], images.test, images.classes)
    monkeypatch.setattr(library, "images", lambda spec: bare)
    with pytest.raises(ReflowError, match="no training images"):
        inspections["quantize"].function(SPEC, library, ignore)


def test_the_edge_is_the_last_sparsity_before_five_points_are_lost() -> None:
    from dataclasses import replace

    one = point(diagnose(Spec(sparsity=0.3, evaluation_images=40, repair="none"), Library()))
    scores = {0.3: 0.90, 0.4: 0.86, 0.5: 0.84, 0.6: 0.89}
    dense, pruned = one.outcomes["dense"], one.outcomes["pruned"]
    made = [
        replace(
            one,
            spec=one.spec.replace(sparsity=at),
            outcomes={"dense": replace(dense, accuracy=0.9), "pruned": replace(pruned, accuracy=score)},
        )
        for at, score in scores.items()
    ]
    assert largest(made) == 0.4
    assert largest(made[2:3]) is None


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    own = [
        "quantize",
        "--model",
        "vgg-digits",
        "--sparsity",
        "0.6",
        "--evaluation",
        "60",
        "--calibration",
        "32",
        "--json",
    ]
    assert main(own) == 0
    assert "int8 alone" in json.loads(capsys.readouterr().out)["quantize"]["answer"]


def test_the_export_takes_any_number_of_images() -> None:
    library = Library()
    inputs = evaluation_inputs(library.images(SPEC).test, library.network(SPEC.model).info)
    runner = onnx_file.session(onnx_file.export(clone_module(library.network(SPEC.model).module), inputs(slice(0, 1))))
    for count in (1, 7):
        assert onnx_file.run(runner, inputs(slice(0, count))).shape == (count, 10)
