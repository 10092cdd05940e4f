"""The repairs against independent implementations, and what they do to real networks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core import Library, Spec, diagnose, ridge
from reflow_core.errors import NotApplicable
from reflow_core.networks.vision import torchvision
from reflow_core.repairs import Calibration, Told, repairs
from reflow_core.repairs import least_squares as ls
from reflow_core.repairs.norm_rescale import norm_rescale
from reflow_core.repairs.reflow import recalibrate
from reflow_core.repairs.repair_fuse import repair_fuse
from reflow_core.repairs.statcorr import statcorr
from reflow_core.signal.layers import PRUNABLE, prunable
from reflow_core.sources.access import EVERYTHING
from reflow_core.watch import ignore
from tests.thorough import THOROUGH
from tests.unit.test_oracles import pruned, small

CHANGING = [name for name in repairs.names() if name not in ("none", "reflow")]


def inputs(count: int = 64) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def narrow() -> nn.Module:
    """A network with norms, groups and strides that is fitted in no time."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 16, 3, 2, 1, groups=2, bias=False)
    body = (first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval().requires_grad_(False)


def outputs(network: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], images: Tensor) -> list[Tensor]:
    """Each such module's output in float64, channels second, by a plain hook."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        last = isinstance(module, nn.Linear | nn.LayerNorm)
        seen.append((output.movedim(-1, 1) if last and output.ndim > 2 else output).double())

    handles = [module.register_forward_hook(keep) for module in network.modules() if isinstance(module, kind)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return seen


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    across = values.transpose(0, 1).flatten(1)
    return across.mean(1), across.std(1, correction=0)


def layernorm_network() -> nn.Module:
    torch.manual_seed(0)
    return Library().network("convnext-digits").module


@pytest.mark.parametrize(
    ("repair", "network", "kind"),
    [(statcorr, small, nn.BatchNorm2d), (statcorr, layernorm_network, nn.LayerNorm),
     (repair_fuse, layernorm_network, PRUNABLE)],
)  # fmt: skip
def test_matching_gives_every_layer_the_dense_mean_and_deviation(
    repair: Callable[..., str], network: Callable[[], nn.Module], kind: type[nn.Module]
) -> None:
    dense, private = network(), pruned(network())
    repair(dense, private, Calibration(inputs()), ignore)
    for ours, theirs in zip(outputs(private, kind, inputs()), outputs(dense, kind, inputs()), strict=True):
        for found, wanted in zip(moments(ours), moments(theirs), strict=True):
            torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("network", [small, layernorm_network])
def test_a_repair_keeps_the_mask_the_modes_and_the_dense_network(name: str, network: Callable[[], nn.Module]) -> None:
    dense, private = network(), pruned(network(), 0.8)
    before = {key: value.clone() for key, value in dense.state_dict().items()}
    zeros = {key: weight == 0 for key, weight in prunable(private).items()}
    try:
        labels = torch.arange(32) % 3
        assert repairs[name].function(dense, private, Calibration(inputs(32), labels=labels, epochs=2), ignore)
    except NotApplicable as why:
        assert name == "repair-fuse" and "BatchNorm" in str(why)
    assert all((weight[zeros[key]] == 0).all() for key, weight in prunable(private).items())
    assert not any(m.training or m._forward_hooks or m._forward_pre_hooks for m in private.modules())
    assert all(torch.equal(value, before[key]) for key, value in dense.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in dense.modules())


def test_filters_get_their_length_back() -> None:
    dense, private = small(), pruned(small(), 0.8)
    norm_rescale(dense, private, Calibration(inputs(1)), ignore)
    for name, weight in prunable(private).items():
        old, new = (kept.flatten(1).norm(dim=1) for kept in (prunable(dense)[name], weight))
        torch.testing.assert_close(new[new > 0], old[new > 0])


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=(1, 0), bias=False),
     nn.Conv2d(4, 8, 3, dilation=2, groups=2), nn.Conv2d(4, 4, 3, padding="same", groups=4)],
)  # fmt: skip
def test_patches_are_those_that_the_convolution_reads(layer: nn.Conv2d) -> None:
    images = torch.randn(3, 4, 9, 11)
    ours = (ls.patches(layer, images, seed=5) @ ls.by_group(layer).mT).movedim(0, 1).flatten(1)
    theirs = F.conv2d(images, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    chosen = ls.drawn(layer, 3, theirs[0, 0].numel(), seed=5)
    theirs = theirs.flatten(2).gather(2, chosen[:, None].expand(-1, theirs.shape[1], -1)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("centered", [True, False])
def test_a_refitted_filter_equals_the_library_solution_on_its_support(centered: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    read, target = torch.randn(200, 12, generator=generator) + 1, torch.randn(200, 3, generator=generator) - 2
    layer = nn.Linear(12, 3, bias=centered).requires_grad_(False)
    layer.weight[torch.rand(3, 12, generator=generator) < 0.5] = 0
    before = copy.deepcopy(layer)
    ls.fit(layer, read[None], target, centered, half=120, ridge=20)
    inputs, wanted = ((part - part.mean(0) * centered).double() for part in (read, target))
    ridge = 20 / 200 * inputs.square().sum(0).mean()
    for row in range(3):
        kept = before.weight[row] != 0
        old = before.weight[row, kept].double()
        # a ridge toward the old weights as an augmented ordinary least-squares problem
        matrix = torch.cat([inputs[:, kept], ridge.sqrt() * torch.eye(int(kept.sum()), dtype=torch.float64)])
        values = torch.cat([wanted[:, row], ridge.sqrt() * old])
        expected = torch.linalg.lstsq(matrix, values).solution
        torch.testing.assert_close(layer.weight[row, kept].double(), expected, rtol=1e-4, atol=1e-6)
    if centered:
        torch.testing.assert_close((read @ layer.weight.T + layer.bias).mean(0), target.mean(0))


def test_sums_of_many_float32_products_are_those_of_float64() -> None:
    """Also where one input is far from 0 and another far smaller."""
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(2, 10_000, 12, generator=generator) * torch.logspace(-3, 1, 12) + 3
    wanted = torch.randn(10_000, 6, generator=generator)
    normal, exact = ridge.Normal.of(read, wanted), read.double()
    torch.testing.assert_close(normal.gram, exact.mT @ exact, rtol=1e-6, atol=0)
    pull = wanted.double().T.unflatten(0, (2, 3)) @ exact
    assert (normal.pull - pull).abs().max() < 1e-6 * exact.abs().sum(1).max()


def test_filters_of_different_supports_are_solved_together_as_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    weights, read = torch.randn(2, 30, 9, generator=generator), torch.randn(2, 90, 9, generator=generator)
    weights *= torch.rand(2, 30, 9, generator=generator) < torch.rand(2, 30, 1, generator=generator)
    normal = ridge.Normal.of(read, torch.randn(90, 60, generator=generator))
    together = ridge.solved(weights, normal, 0.1)
    monkeypatch.setattr(ridge, "BLOCK", 1)
    torch.testing.assert_close(ridge.solved(weights, normal, 0.1), together, rtol=1e-9, atol=1e-12)
    assert ((together == 0) == (weights == 0)).all()


def test_a_ridge_is_chosen_large_where_samples_are_few_and_small_where_they_are_many() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(1, 4, 40, generator=generator)
    old = truth + 0.3 * torch.randn(1, 4, 40, generator=generator)
    chosen = []
    for count in (20, 4_000):
        read = torch.randn(1, count, 40, generator=generator)
        target = (read @ truth.mT)[0] + 3 * torch.randn(count, 4, generator=generator)
        parts = [ridge.Normal.of(read[:, rows], target[rows]) for rows in (slice(count // 2), slice(count // 2, None))]
        chosen.append(ridge.best_ridge(old, *parts))
    assert chosen[0] >= 1 and chosen[1] < 0.3


class Bare(nn.Module):
    """Two convolutions without bias, behind the first one some norm, or none."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 16, 3, bias=False), norm
        self.second, self.biased = nn.Conv2d(16, 16, 3, bias=False), nn.Conv2d(16, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.biased(self.second(self.norm(self.first(images)).relu()))


def test_only_what_takes_up_the_mean_lets_a_layer_be_centered() -> None:
    frozen = torchvision().ops.FrozenBatchNorm2d(16)
    kinds = {nn.Identity(): False, frozen: False, nn.GroupNorm(4, 16): False, nn.BatchNorm2d(16): True}
    for norm, taken in kinds.items():
        network = Bare(norm).eval()
        assert ls.centerable(network, inputs(1)) == {"biased", *(["first"] if taken else [])}


def test_without_a_bias_or_a_norm_the_error_is_that_of_the_uncentered_fit() -> None:
    """Inputs far from 0: centering first, and then having nowhere to put the mean, costs several times the error."""
    dense = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False)).eval()
    torch.manual_seed(0)
    for module in (dense[0], dense[2]):
        nn.init.kaiming_normal_(module.weight)  # type: ignore[arg-type]
    dense.requires_grad_(False)
    private = pruned(copy.deepcopy(dense), 0.7)
    images = inputs() + 3
    errors = {}
    ls.least_squares(dense, private, Calibration(images), ignore)
    for name, network in (("pruned", pruned(copy.deepcopy(dense), 0.7)), ("repaired", private)):
        errors[name] = float((network(images) - dense(images)).square().mean())
    assert errors["repaired"] < 0.1 * errors["pruned"]


def test_least_squares_fits_alike_in_any_memory_layout() -> None:
    """In channels-last a weight's filters are no view of it."""
    dense, fitted = small(), []
    for layout in (torch.contiguous_format, torch.channels_last):
        private = pruned(small(), 0.7).to(memory_format=layout)
        ls.least_squares(dense, private, Calibration(inputs(64)), ignore)
        fitted.append(private.state_dict())
    before = prunable(pruned(small(), 0.7))
    assert all((fitted[1][f"{name}.weight"] != weight).any() for name, weight in before.items())
    for name, tensor in fitted[0].items():
        torch.testing.assert_close(fitted[1][name], tensor, rtol=1e-3, atol=1e-4)


def test_with_nothing_pruned_every_weight_stays_where_it_was() -> None:
    dense, calibration = narrow(), Calibration(inputs(64))
    recalibrate(dense, calibration)  # statistics that another estimate would not move
    private = copy.deepcopy(dense)
    ls.least_squares(dense, private, calibration, ignore)
    for name, weight in prunable(private).items():
        torch.testing.assert_close(weight, prunable(dense)[name], rtol=1e-3, atol=1e-4)


def test_what_agrees_less_with_dense_than_reflow_alone_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, calibration = small(), Calibration(inputs(32))
    refitted, plain = pruned(small(), 0.5), pruned(small(), 0.5)
    recalibrate(plain, calibration)
    shares = iter([0.25, 0.75])
    monkeypatch.setattr(ls, "agreement", lambda *arguments: next(shares))
    said = Told.of(ls.least_squares(dense, refitted, calibration, ignore))
    assert (
        said.summary.startswith("Kept REFLOW alone")
        and "25.0\u00a0%" in said.summary
        and "75.0\u00a0%" in said.summary
        and "8 held-out" in said.summary
    )
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in refitted.state_dict().items())


def test_the_trial_is_fitted_without_the_images_that_judge_it() -> None:
    """Other images in the last quarter change what is judged, and nothing of what the first three give."""
    dense, first = narrow(), inputs(32)
    walk = dataclasses.replace(ls.Walk.of(dense, Calibration(first), ignore), fitted=24)
    other = dataclasses.replace(walk, images=torch.cat([walk.images[:24], 5 * walk.images[24:]]), ridges={})
    states = []
    for one in (walk, other):
        network = pruned(narrow(), 0.5)
        with torch.inference_mode():
            one.repaired(network, ls.dense_outputs(dense, one)[0])
        states.append(network.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def everything() -> Library:
    return Library(EVERYTHING)


@pytest.mark.parametrize(("sparsity", "least"), [(0.9, 0.74), *([(0.8, 0.88), (0.95, 0.50)] if THOROUGH else [])])
def test_least_squares_on_the_public_resnet20(
    cifar_weights: Path, cifar_images: Path, everything: Library, sparsity: float, least: float
) -> None:
    asked = Spec(f"resnet20-cifar10@{cifar_weights}", str(cifar_images), sparsity=sparsity, repair="least-squares",
                 evaluation_images=600)  # fmt: skip
    repaired = diagnose(asked, everything).repaired
    assert repaired is not None and repaired.accuracy is not None and repaired.accuracy >= least


def test_without_batchnorm_repairs_bring_a_collapsed_network_back(library: Library) -> None:
    """ConvNeXt on digits at 0.85, measured: pruned .14, statcorr .61, repair-fuse .74, least squares .94."""
    spec = Spec("convnext-digits", sparsity=0.85)
    accuracy = {}
    for name in ("statcorr", "repair-fuse", "least-squares"):
        found = diagnose(spec.replace(repair=name), library)
        assert found.pruned.accuracy is not None and found.pruned.accuracy < 0.3
        assert found.repaired is not None and found.repaired.accuracy is not None
        accuracy[name] = found.repaired.accuracy
    assert accuracy["statcorr"] > 0.5 and accuracy["repair-fuse"] > 0.6 and accuracy["least-squares"] > 0.9
