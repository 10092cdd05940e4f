"""Networks of others: torchvision's families, each from weights planted in the hub cache, in pictures of a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reflow_core import Library, Spec, diagnose
from reflow_core.networks.checkpoint import weights_folder
from reflow_core.networks.vision import torchvision
from reflow_core.networks.zoo import describe, synsets, zoo
from reflow_core.signal.copies import Hook, clone_module, hooked
from reflow_core.signal.layers import NORMS
from reflow_core.sources.access import EVERYTHING
from tests.thorough import THOROUGH

FIXED = ("vit_b_32", "swin_t", "swin_v2_t", "maxvit_t")  # run at their own size only
SMALL_SIZE = {"inception_v3": 96}
COUNT = 2  # images
LARGE = ("alexnet", "vgg11_bn", "vit_b_32")  # pruned 2:4: to sort so many weights takes seconds
COSTLY = (
    "alexnet",
    "inception_v3",
    "maxvit_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_32",
)  # which `make thorough` takes along
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11_bn", "vit_b_32",
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("n01440764", "n03888257"):
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
                Image.fromarray(coarse).resize((320, 280)).save(root / part / name / f"{number}.jpg")
    return root


def plant(name: str) -> nn.Module:
    """A randomly initialized network whose weights lie where torch hub keeps the published ones."""
    torch.manual_seed(0)
    info = zoo()[name]
    assert info.download is not None
    network = info.build(1000).eval()
    weights_folder().mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), weights_folder() / info.download.filename)
    return network


def test_the_table_is_torchvisions() -> None:
    models = torchvision().models
    assert set(zoo()) == set(models.list_models(module=models))
    for name in ("resnet18", "mobilenet_v3_small", "inception_v3"):
        row = describe(name)
        info = zoo()[name]
        assert info.facts is not None and info.download is not None
        assert (row["crop"], row["resize"], row["url"]) == (info.size[0], info.resize, info.download.url)
        assert (row["parameters"], row["norms"]) == (info.facts.parameters, info.facts.norms)
    classes = models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert list(zoo()["resnet18"].classes) == classes
    assert synsets()["n03888257"] == classes.index("parachute")


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in COSTLY or THOROUGH])
def test_every_family_is_measured_or_listed(name: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured and listed layers are the norms of `named_modules`; variances equal those of hooks of our own."""
    if name not in FIXED:
        side = SMALL_SIZE.get(name, 64)
        monkeypatch.setitem(zoo(), name, dataclasses.replace(zoo()[name], size=(side, side), resize=side + 8))
    network = plant(name)
    library = Library(EVERYTHING)
    spec = Spec(name, str(pictures), sparsity=0.3, evaluation_images=COUNT, calibration_images=COUNT)
    spec = spec.replace(pattern="2:4" if name in LARGE else spec.pattern)
    found = diagnose(spec, library)
    norms = {place: module for place, module in network.named_modules() if isinstance(module, NORMS)}
    measured = {layer.name for layer in found.layers}
    if norms:
        assert measured | {place for place, _ in found.unmeasured} == set(norms)
        assert not measured & {place for place, _ in found.unmeasured}
    expected = variances(network, library, spec, sorted(measured))
    for layer in found.layers:
        torch.testing.assert_close(
            torch.from_numpy(layer.variance["dense"]), expected[layer.name], rtol=1e-3, atol=1e-9
        )
    applies = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert (found.repaired is not None) == applies
    assert applies or "no BatchNorm" in str(found.reason)
    assert zoo()[name].facts.reflow_applies == applies  # type: ignore[union-attr]


def variances(network: nn.Module, library: Library, spec: Spec, names: list[str]) -> dict[str, Tensor]:
    """Population variance per channel of each layer's output by plain means over float64."""
    from reflow_core.diagnosis.calibration import evaluation_inputs

    network, info, outputs = clone_module(network), zoo()[spec.model], {}
    images = library.images(spec).test.take(COUNT, spec.seed)

    def keep(name: str) -> Hook:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = output.double()

        return hook

    with hooked(network, after={name: keep(name) for name in names}), torch.inference_mode():
        network(evaluation_inputs(images, info)(slice(None)))
    modules = dict(network.named_modules())
    found = {}
    for name, output in outputs.items():
        last = isinstance(modules[name], nn.Linear | nn.LayerNorm) and not type(modules[name]).__name__.endswith("2d")
        channel = output.ndim - 1 if last else 1
        found[name] = output.var([place for place in range(output.ndim) if place != channel], correction=0)
    return found
