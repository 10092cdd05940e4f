"""timm's networks by name, and the hub's over a real HTTP server."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.errors import ReflowError
from reflow_core.networks import hub
from reflow_core.networks.catalog import find
from reflow_core.networks.vision import torchvision
from reflow_core.signal.copies import clone_module
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import download, missing

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the optional package timm")
NAME = "timm:mobilenetv3_small_050.lamb_in1k"
IMAGES = 8


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 40, 40, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", test_images=pixels, train_images=pixels)
    return str(tmp_path / "images.npz")


def weights(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(find(name).build(len(find(name).classes)).state_dict())


def test_a_timm_network_with_fused_activations_is_measured_before_them(pictures: str) -> None:
    info = find(NAME)
    assert info.facts is not None and info.facts.norms["BatchNormAct2d"] and info.facts.reflow_applies
    assert len(info.classes) == 1000 and info.stored == (256, 256)
    assert missing(NAME, pictures) == [NAME]
    assert info.download is not None
    planted = hub.weights_folder() / info.download.filename
    planted.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights(NAME), planted)
    assert not missing(NAME, pictures)
    library, spec = Library(EVERYTHING), Spec(NAME, pictures, evaluation_images=IMAGES, calibration_images=IMAGES)
    found = diagnose(spec, library)
    network = clone_module(library.network(NAME).module)
    norms = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    assert {layer.name for layer in found.layers} | dict(found.unmeasured).keys() == norms.keys()
    before: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda norm, arriving: before.__setitem__(name, nn.BatchNorm2d.forward(norm, arriving[0]).double())  # type: ignore[arg-type]

    for name, norm in norms.items():
        norm.register_forward_pre_hook(hook(name))
    with torch.inference_mode():
        chosen = library.images(spec).test.take(IMAGES, spec.seed)
        network(evaluation_inputs(chosen, info)(slice(None)))
    for layer in found.layers:
        wanted = before[layer.name].var((0, 2, 3), correction=0)
        np.testing.assert_allclose(layer.variance["dense"], wanted, rtol=1e-3, atol=1e-9)
    assert found.repaired is not None


def test_a_network_of_the_hub_is_fetched_with_its_description(
    pictures: str, tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "timm:hf_hub:somebody/small"
    folder = tmp_path / "hub" / "somebody" / "small" / "resolve" / "main"
    folder.mkdir(parents=True)
    seen = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 96, 96], "crop_pct": 1.0}
    config = {"architecture": "mobilenetv3_small_050", "num_classes": 7, "pretrained_cfg": seen}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    state = hub.package().create_model("mobilenetv3_small_050", num_classes=7).state_dict()
    save_file(state, folder / "model.safetensors")
    monkeypatch.setattr(hub, "HOME", serve(tmp_path / "hub"))
    with pytest.raises(ReflowError, match="is not on this machine"):
        find(name)
    download(name)
    info = find(name)
    assert (info.size, info.mean, len(info.classes)) == ((96, 96), (0.5, 0.5, 0.5), 7)
    found = diagnose(Spec(name, pictures, evaluation_images=IMAGES, calibration_images=IMAGES), Library(EVERYTHING))
    assert found.dense.n == IMAGES and len(found.classes) == 7
    with pytest.raises(ReflowError, match="Could not download"):
        download("timm:hf_hub:somebody/else")


def test_unknown_names_and_a_missing_package_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReflowError, match=r"did you mean 'timm:resnet50"):
        find("timm:resnet50.nobody")
    torchvision()
    monkeypatch.setitem(sys.modules, "timm", None)
    hub.package.cache_clear()
    with pytest.raises(ReflowError, match="pip install timm"):
        find("timm:resnet18.of_somebody_else")
    monkeypatch.undo()
    hub.package.cache_clear()
