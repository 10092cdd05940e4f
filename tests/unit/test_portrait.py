"""The portrait of the signal: feature maps against hooks of our own, the plane against PCA, the answer in numbers."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from reflow_core import Finding, Library, Spec, inspect
from reflow_core.diagnosis.calibration import evaluation, evaluation_inputs
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.present.figures.findings import pictured
from reflow_core.present.figures.portrait import REACH, look
from reflow_core.production.export import rebuild
from reflow_core.production.inspections.portrait import (
    PICTURED,
    SPREAD,
    image_maps,
    mapped,
    planar,
    plane,
    shrunk,
    strongest,
)
from reflow_core.signal.copies import clone_module, hooked

SPEC = Spec(sparsity=0.9, evaluation_images=64, calibration_images=64)


WITHOUT_BATCHNORM = ("convnext-digits", "vit-digits")


@pytest.fixture(scope="module")
def found(library: Library) -> Finding:
    return inspect("portrait", SPEC, library)


def outputs(network: torch.nn.Module, name: str, inputs: Tensor) -> Tensor:
    """What leaves one module, by a hook of our own."""
    kept: list[Tensor] = []
    with torch.inference_mode(), hooked(network, {}, {name: lambda m, a, output: kept.append(output.clone())}):
        network(inputs)
    return kept[0]


@pytest.mark.parametrize(("variant", "repair"), [("pruned", "none"), ("repaired", "reflow")])
@pytest.mark.parametrize("place", [0, 9, 18])
def test_feature_maps_are_what_leaves_the_layer(
    found: Finding, library: Library, variant: str, repair: str, place: int
) -> None:
    name = found.facts["layers"][place]
    images = evaluation(SPEC, library.images(SPEC))
    inputs = evaluation_inputs(images, library.network(SPEC.model).info)(slice(0, PICTURED))
    dense = outputs(clone_module(library.network(SPEC.model).module), name, inputs)
    channel = found.facts["channels"][place]
    assert dense.var((0, 2, 3), correction=0).argmax() == channel
    made = rebuild(SPEC if repair == "reflow" else SPEC.replace(repair="none", calibration_images=512), library)
    values = outputs(made.module, name, inputs)[:, channel]
    levels = 128 + 127 * (values - values.mean()) / (SPREAD * dense[:, channel].std(correction=0))
    height, width = found.facts["sides"][place]
    for image in (0, PICTURED - 1):
        start = sum(h * w for h, w in found.facts["sides"][:place])
        kept = np.frombuffer(image_maps(found, image)[variant], np.uint8)[start : start + height * width]
        np.testing.assert_allclose(kept, levels[image].clamp(1, 255).flatten(), atol=0.51)


def test_the_signal_dies_and_comes_back(found: Finding) -> None:
    """At 90 % the pruned images lie in one point, the repaired ones apart again; the last feature maps are flat."""
    spread = {variant: np.std(points, axis=0).mean() for variant, points in found.facts["points"].items()}
    assert spread["pruned"] < 0.2 * spread["dense"] and spread["repaired"] > 0.5 * spread["dense"]
    height, width = found.facts["sides"][-1]
    last = {variant: np.frombuffer(base64.b64decode(maps), np.uint8)[-PICTURED * height * width :]
            for variant, maps in found.facts["maps"].items()}  # fmt: skip
    assert last["pruned"].std() < 0.4 * last["dense"].std() < last["repaired"].std()
    assert found.answer.startswith("In the plane of the dense network's features, the images spread")
    assert len(found.tables["Map of features"]) == 3 * 64


def test_the_figure_shows_every_point_and_tells_classes_apart(found: Finding) -> None:
    drawn = pictured(found)["Penultimate features"].figure
    points = found.facts["points"]
    for place, variant in enumerate(points, 1):
        axis = "x" if place == 1 else f"x{place}"
        traces = [trace for trace in drawn.data if trace.xaxis == axis]
        shown = np.column_stack([np.concatenate([trace[name] for trace in traces]) for name in "xy"])
        expected = np.clip(points[variant], -REACH, REACH)
        assert sorted(np.round(shown, 3).tolist()) == sorted(np.round(expected, 3).tolist())
    assert [trace.name for trace in drawn.data if trace.showlegend] == list(
        dict.fromkeys(found.tables["Map of features"]["class"])
    )
    assert len({look(group) for group in range(50)}) == 50


def test_the_plane_is_pca_of_the_class_means() -> None:
    generator = np.random.default_rng(0)
    groups = np.arange(90) % 6
    features = generator.normal(size=(90, 12)) + 3 * generator.normal(size=(6, 12))[groups]
    center, axes = plane(features, groups)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)
    means = np.stack([features[groups == group].mean(0) for group in range(6)])
    expected = PCA(2).fit(means).components_  # groups of one size: the mean of the means is the mean
    np.testing.assert_allclose(np.abs(np.sum(axes.T * expected, 1)), 1, atol=1e-9)
    both = mapped({"dense": features, "pruned": np.full_like(features, np.nan)}, groups)
    np.testing.assert_allclose(both["dense"].std(), 1)
    assert not both["pruned"].any()
    half = mapped({"dense": features, "pruned": 0.5 * (features - center) + center}, groups)
    np.testing.assert_allclose(half["pruned"], 0.5 * both["dense"])


def test_any_layer_becomes_a_picture() -> None:
    assert planar(torch.zeros(2, 5, 4, 4)).shape == (2, 5, 4, 4)
    tokens = torch.arange(17.0).expand(2, 5, 17)
    assert planar(tokens)[0, 0].flatten().tolist() == list(range(1, 17)), "the class token is left out"
    assert planar(torch.zeros(2, 5, 7)).shape == (2, 5, 1, 7)
    assert planar(torch.zeros(2, 5, 1)).shape == (2, 5, 1, 1)
    large = torch.randn(2, 3, 32, 48)
    assert shrunk(large).shape == (2, 3, 16, 16)
    torch.testing.assert_close(shrunk(large)[0, 0, 0, 0], large[0, 0, :2, :3].mean())
    assert shrunk(torch.zeros(2, 3, 8, 6)).shape == (2, 3, 8, 6)
    assert strongest(torch.stack([torch.zeros(2, 3, 3), torch.randn(2, 3, 3)], 1)) == 1


@pytest.mark.parametrize("model", ["mobilenet-digits", "vgg-digits", "convnext-digits", "vit-digits"])
def test_every_kind_of_network_has_a_portrait(model: str, library: Library) -> None:
    seen = inspect("portrait", Spec(model, sparsity=0.5, evaluation_images=32, calibration_images=32), library)
    sites = trace_of(Spec(model), library).sites
    assert seen.facts["layers"] == [site.name for site in sites]
    assert set(seen.facts["maps"]) == {"dense", "pruned"} | ({"repaired"} if model not in WITHOUT_BATCHNORM else set())
    assert all(len(points) == 32 for points in seen.facts["points"].values())
