"""Requests as in service: the drawn distribution, what a request goes through, and Amdahl's law in closed form."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from reflow_core import Library, Spec, inspect
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.errors import ReflowError
from reflow_core.networks.catalog import find
from reflow_core.present.figures.hardware import in_service
from reflow_core.production import onnx_file, service
from reflow_core.production.inspections import hardware
from reflow_core.production.service import Traffic, amdahl, decoded, encoded, served, split, summarized, traffic
from reflow_core.production.sparse import sparsified
from reflow_core.signal.copies import clone_module
from reflow_core.watch import ignore

OWN = (16, 16)


def conv() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    return nn.Sequential(*layers).requires_grad_(False).eval()


def test_batches_are_each_half_as_frequent_and_sizes_as_stated() -> None:
    asked = traffic(conv(), OWN, 0.001)
    assert list(asked.batches) == [1, 2, 4, 8, 16, 32] and sum(asked.batches.values()) == pytest.approx(1)
    assert asked.batches[1] == pytest.approx(32 / 63) and asked.batches[32] == pytest.approx(1 / 63)
    assert asked.sizes == pytest.approx({(16, 16): 0.6, (24, 24): 0.3, (32, 32): 0.1})
    drawn = asked.draw(20_000, seed=0)
    batches, heights = np.array([batch for batch, _ in drawn]), np.array([size[0] for _, size in drawn])
    assert batches.mean() == pytest.approx(6 * 32 / 63, rel=0.03)  # Σ b·(1/b) / Σ (1/b)
    assert batches.var() == pytest.approx(63 * 32 / 63 - (6 * 32 / 63) ** 2, rel=0.06)  # Σ b²·(1/b) / Σ (1/b) − mean²
    assert heights.mean() == pytest.approx(16 * (0.6 + 0.45 + 0.2), rel=0.01)
    assert abs(np.corrcoef(batches, heights)[0, 1]) < 0.02
    assert asked.draw(50, seed=0) == asked.draw(50, seed=0) != asked.draw(50, seed=1)
    assert (
        str(asked).replace("\u00a0", " ").endswith("32 (2 %); images of 16 × 16 (60 %), 24 × 24 (30 %), 32 × 32 (10 %)")
    )


def test_a_slow_network_is_asked_small_batches_and_a_fixed_one_its_own_size() -> None:
    assert list(traffic(conv(), OWN, 0.05).batches) == [1, 2, 4]
    assert list(traffic(conv(), OWN, 9.0).batches) == [1]
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))
    assert traffic(fixed, OWN, 0.001).sizes == {OWN: 1.0}


def test_a_decoded_file_is_what_the_network_is_evaluated_on(library: Library) -> None:
    info, images = find("resnet20-digits"), library.images(Spec()).test[:5]
    files = encoded(images, info, [OWN, (24, 24)])
    assert torch.equal(decoded(files[OWN], OWN, info), evaluation_inputs(images, info)(slice(0, 5)))
    assert decoded(files[(24, 24)][:2], (24, 24), info).shape == (2, 3, 24, 24)


class Slow(nn.Module):
    """Waits as long as it is told, then answers as a convolutional network."""

    def __init__(self, inside: float, outside: float) -> None:
        super().__init__()
        self.waits, self.outside = nn.Module(), outside
        self.waits.forward = lambda x: (time.sleep(inside), x)[1]  # type: ignore[method-assign]
        self.rest = conv()

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.outside)
        return self.rest(self.waits(x))


def test_layers_and_the_whole_are_timed_apart(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST", 8)
    info, images = find("resnet20-digits"), library.images(Spec()).test[:4]
    runs = {"dense": Slow(0.004, 0.008), "CSR": Slow(0.001, 0.008)}
    rows = served(runs, Traffic({1: 0.5, 2: 0.5}, {OWN: 1.0}), images, info, ["waits"], ignore)
    assert rows.groupby("network").size().to_dict() == {"dense": 8, "CSR": 8}
    assert rows[rows.network == "dense"].batch.tolist() == rows[rows.network == "CSR"].batch.tolist()
    assert not runs["dense"].waits._forward_hooks, "a network of others is not hooked"
    table = summarized(rows, ["waits"], {"dense": "dense", "CSR": "dense"}).set_index("network")
    assert (table.layers_ms >= [4, 1]).all() and (table.forward_ms >= [12, 9]).all()
    assert (table.layers_ms < table.forward_ms - 7).all()
    assert (table.p95_ms >= table.p50_ms).all() and (table.p50_ms > table.forward_p50_ms).all()
    assert table.speed_p50["CSR"] == pytest.approx(table.p50_ms["dense"] / table.p50_ms["CSR"])


def test_amdahl_is_the_closed_form_and_holds_of_what_is_split() -> None:
    assert amdahl(0.5, 2) == pytest.approx(4 / 3) and amdahl(0.95, 20) == pytest.approx(10.2564, abs=1e-4)
    assert amdahl(0.9, math.inf) == pytest.approx(10) and amdahl(1, math.inf) == math.inf
    assert amdahl(0, 7) == 1 == amdahl(1, 1) and amdahl(0.4, 0.5) == pytest.approx(1 / 1.4)
    stages = {"read": 1.0, "forward": 8.0, "answer": 1.0}
    rows = pd.DataFrame(
        [{"network": "dense", **stages, "a": 2.0, "b": 3.0}] * 3
        + [{"network": "CSR", **stages | {"forward": 4.0}, "a": 0.5, "b": 0.5}] * 3
    )
    one, whole = split(rows, "a", ["a", "b"]).to_dict("records")
    assert (one["share"], one["speed"], one["bound"]) == pytest.approx((0.2, 4, 1 / 0.85))
    assert (whole["share"], whole["speed"], whole["ceiling"]) == pytest.approx((0.5, 5, 2))
    assert whole["measured"] == pytest.approx(10 / 6) == whole["bound"], "the rest takes as long as before"
    assert math.isnan(one["measured"])


@pytest.mark.parametrize("name", ["resnet20-digits", "vit-digits"])
def test_a_file_for_any_size_answers_as_torch_at_every_size(name: str, library: Library) -> None:
    network = library.network(name).module
    content = onnx_file.export(network, torch.zeros(1, 3, *OWN), any_size=True)
    for size in (16, 24, 32):
        assert onnx_file.largest_difference(content, network, torch.randn(2, 3, size, size)) < 1e-4
    own = onnx_file.export(network, torch.zeros(1, 3, *OWN))
    assert not service.takes(lambda images: onnx_file.run(onnx_file.session(own), images), (24, 24))


@pytest.mark.parametrize("name", ["resnet20-digits", "vit-digits"])
def test_requests_stand_on_the_hardware_page(name: str, quick_timing: None, library: Library) -> None:
    found = inspect("hardware", Spec(name, evaluation_images=64, calibration_images=32), library)
    table, kernels = found.tables["Requests"].set_index("network"), found.tables["Amdahl"]
    assert {"dense", "zeros", "CSR", "onnxruntime", "int8"} <= set(table.index)
    assert (table.requests == service.FEWEST).all() and table.layers_ms.isna().sum() == 2
    assert (kernels.share < 1).all() and (kernels.ceiling >= kernels.bound).all()
    assert any(
        note.startswith("Requests are drawn at random, batch and image size independently: batches of 1 (")
        for note in found.notes
    )
    drawn = in_service(found)
    assert drawn.message.startswith("Over 8 requests, ") and "so few requests" in drawn.message
    assert "(Amdahl; measured " in drawn.message and "For onnxruntime and int8, only" in drawn.message
    assert drawn.figure.layout.xaxis.title.text.startswith("ms per request")


def test_a_network_whose_file_takes_one_size_is_exported_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    export = onnx_file.export

    def only_own(network: nn.Module, example: Tensor, any_size: bool = False) -> bytes:
        if any_size:
            raise ReflowError("This network cannot be exported to ONNX (size).")
        return export(network, example)

    monkeypatch.setattr(onnx_file, "export", only_own)
    content = hardware.exported(conv(), torch.zeros(1, 3, *OWN))
    assert service.takes(lambda images: onnx_file.run(onnx_file.session(content), images), OWN)
    assert not service.takes(lambda images: onnx_file.run(onnx_file.session(content), images), (24, 24))


def test_what_takes_one_size_only_is_said(
    library: Library, quick_timing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Spec("vit-digits", evaluation_images=64, calibration_images=32)
    with Experiment.open(spec, library, ignore) as experiment:
        runs = {"dense": experiment.network.module, "CSR": clone_module(experiment.network.module)}
        sparsified(runs["CSR"])
        monkeypatch.setattr(service, "takes", lambda run, size: size == OWN)
        tables, notes = hardware.in_service(experiment, runs, 0.001, "patches")
    assert notes[0].replace("\u00a0", " ").endswith("images of 16 × 16 (100 %).")
    assert notes[1] == "This network accepts one image size, so requests differ only in their batch size."
    assert tables["Amdahl"].kernels.tolist() == ["patches", "all 14 replaced by CSR"]
