"""Sparse kernels against dense ones, bytes by hand, the crossover in closed form, and each claim's verdict."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from reflow_core import Library, Spec
from reflow_core.cli import main
from reflow_core.diagnosis.fields import normalize, set_aside
from reflow_core.lab.request import Request
from reflow_core.production.claims import HOLDS, VERDICTS, claims, counted, try_claim
from reflow_core.production.inspections import inspections
from reflow_core.production.inspections.hardware import crossover, faster
from reflow_core.production.sparse import (
    SparseConv2d,
    SparseLinear,
    csr_bytes,
    eligible,
    halved_passes,
    halves,
    mask_bytes,
    sizes,
    sparse_tensor_cores,
    sparsified,
)
from reflow_core.production.timing import race
from reflow_core.pruning.patterns import n_of_m
from reflow_core.signal.copies import clone_module
from reflow_core.signal.layers import prunable
from reflow_core.watch import ignore

SPEC = Spec(sparsity=0.9, evaluation_images=64, calibration_images=32)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Conv2d(3, 5, 3, stride=2, padding=1), (2, 3, 9, 8)),
     (nn.Conv2d(4, 6, (1, 3), dilation=2, bias=False), (3, 4, 7, 9)),
     (nn.Conv2d(4, 6, 3, padding="same"), (2, 4, 6, 6)),
     (nn.Linear(7, 4), (2, 5, 7)),
     (nn.Linear(3, 2, bias=False), (4, 3))],
)  # fmt: skip
def test_a_csr_layer_answers_as_the_dense_one(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        layer.weight[torch.rand_like(layer.weight) < 0.7] = 0
    sparse = SparseConv2d(layer) if isinstance(layer, nn.Conv2d) else SparseLinear(layer)
    images = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(sparse(images), layer(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20-digits", "resnext-digits", "convnext-digits", "vit-digits"])
def test_a_whole_network_in_csr_answers_as_the_dense_one(name: str) -> None:
    network = Library().network(name).module
    private = clone_module(network)
    left = sparsified(private)
    assert bool(left) == (
        name in ("resnext-digits", "convnext-digits")
    )  # grouped convolutions stay dense, and are named
    images = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(private(images), network(images), rtol=1e-3, atol=1e-3)


def test_the_crossover_is_where_the_line_meets_one() -> None:
    assert crossover([0.5, 0.7, 0.9], [0.2, 0.5, 1.5]) == pytest.approx(0.8)
    assert crossover([0.5, 0.7], [0.2, 0.9]) is None
    assert crossover([0.5, 0.7], [1.2, 2.0]) == 0.5


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("hardware", "repair", "statcorr"), ("hardware", "corruption", "noise:1"), ("structured", "pattern", "2:4"),
     ("structured", "exclude", "first"), ("quantize", "layer_sparsity", "conv1:0.5")],
)  # fmt: skip
def test_what_an_inspection_does_not_read_is_set_aside_with_a_note(name: str, field: str, value: str) -> None:
    info, asked = inspections[name].info, SPEC.replace(**{field: value})
    assert normalize(asked, info.reads, info.ignores) == normalize(SPEC, info.reads, info.ignores)
    assert set_aside(asked, info.reads, info.ignores)[-1].startswith(f"{field}={value} is ignored: ")
    assert Request(asked, inspection=name).key(Library()) == Request(SPEC, inspection=name).key(Library())


def test_noise_is_no_speed() -> None:
    assert not faster({"1": 1.3, "64": 1.05})
    assert faster({"1": 1.3, "64": 1.2})


def test_bytes_are_counted_by_hand() -> None:
    weight = torch.zeros(4, 2, 5)
    weight[0, 0, :3] = 1
    assert csr_bytes(weight) == 3 * (4 + 2) + 4 * 5
    assert mask_bytes(weight) == 3 * 4 + 5
    assert csr_bytes(torch.ones(4, 10)) == mask_bytes(torch.ones(4, 10)) == 160  # coding would make it larger
    assert csr_bytes(torch.zeros(7)) == 28
    found = sizes({"a": torch.rand(100, 100)}, {"a": torch.zeros(100, 100)})
    assert found["dense"] == found["pruned"] == 40_000
    assert found["pruned, zipped"] < 200 < found["dense, zipped"]


def test_what_keeps_a_layer_from_two_of_four_is_said() -> None:
    assert eligible(nn.Linear(128, 64)) == ""
    assert "64 × 100" in eligible(nn.Linear(100, 64))
    assert "convolution" in eligible(nn.Conv2d(64, 64, 1))


@pytest.mark.skipif(bool(sparse_tensor_cores()), reason="needs a CUDA GPU with sparse tensor cores")
def test_two_of_four_on_a_gpu_is_the_dense_product() -> None:
    weight = torch.randn(1024, 1024)
    timed = race(halves(weight * n_of_m({"a": weight.abs()}, "2:4")["a"], 256), most=0.1)
    assert timed["2:4"].median > 0


@pytest.mark.skipif(bool(sparse_tensor_cores()), reason="needs a CUDA GPU with sparse tensor cores")
def test_a_whole_pass_runs_in_two_of_four() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 256), nn.ReLU(), nn.Linear(256, 64)).requires_grad_(False)
    timed = race(halved_passes(network, torch.randn(64, 3, 8, 8)), most=0.1)
    assert set(timed) == {"dense", "2:4"} and timed["2:4"].median > 0


def test_everything_is_timed_beside_what_it_replaces(quick_timing: None) -> None:
    found = inspections["hardware"].function(SPEC, Library(), ignore)
    table = found.tables["End to end"]
    assert set(table.network) == {"dense", "zeros", "CSR", "structured", "onnxruntime", "int8"}
    assert (table.p95_ms >= table.median_ms).all()
    at = table.set_index(["network", "batch"])
    assert at.speed["int8", 8] == pytest.approx(at.median_ms["onnxruntime", 8] / at.median_ms["int8", 8])
    assert at.speed["zeros", 1] == pytest.approx(at.median_ms["dense", 1] / at.median_ms["zeros", 1])
    assert found.facts["multiply_adds"] == 10_138_240  # of ResNet-20 at 16 × 16 (see test_sensitivity)
    kept = prunable(Library().network(SPEC.model).module)
    assert found.facts["bytes"]["dense"] > 4 * sum(weight.numel() for weight in kept.values())
    assert found.answer.startswith("End to end, zeros make this network ")
    assert np.isfinite(found.tables["Kernel"].speed).all()


def test_every_claim_has_a_verdict_and_a_measurement(quick_timing: None) -> None:
    library, spec = Library(), Spec(evaluation_images=64, calibration_images=32)
    tested = {name: try_claim(name, spec, library) for name in claims.names()}
    assert {finding.facts["verdict"] for finding in tested.values()} <= set(VERDICTS)
    assert all("Rule: " in finding.facts["measured"] for name, finding in tested.items() if name != "two-four")
    assert tested["projection"].facts["verdict"] == tested["layernorm"].facts["verdict"] == HOLDS
    assert tested["zeros"].machine
    assert not tested["rare"].machine
    whole = counted(spec, list(tested.values()))
    assert {"Learning curve", "Rare classes"} <= whole.tables.keys()
    assert whole.answer.startswith(f"Of {len(tested)} claims about pruning in production, on this model and machine ")
    assert len(whole.tables["Claims"]) == len(claims.names()) == sum(whole.facts["counts"].values())


def test_one_claim_as_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = [Request(Spec(evaluation_images=64), claim="layernorm")]
    monkeypatch.setattr("reflow_core.cli.claims.requests_for_claims", lambda spec: few)
    assert main(["claims", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["claims"]
    assert told["answer"].startswith("One claim about pruning in production was tested: it holds on this")
