"""The repairs against independent implementations, and what they do to real networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core import Library, Spec, diagnose
from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, repairs
from reflow_core.repairs import least_squares as ls
from reflow_core.repairs.norm_rescale import norm_rescale
from reflow_core.repairs.reflow import recalibrate
from reflow_core.repairs.repair_fuse import repair_fuse
from reflow_core.repairs.statcorr import statcorr
from reflow_core.signal.layers import PRUNABLE, prunable
from reflow_core.sources.access import EVERYTHING
from reflow_core.watch import ignore
from tests.unit.test_oracles import pruned, small

CHANGING = [name for name in repairs.names() if name not in ("none", "reflow")]


def inputs(count: int = 64) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


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
        assert repairs[name].function(dense, private, Calibration(inputs(32), labels=labels), ignore)
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
    columns = ls.patches(layer, images, seed=5)
    ours = torch.cat([part @ weight.T for part, weight in zip(columns, ls.by_group(layer), strict=True)], 1)
    theirs = F.conv2d(images, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    generator = torch.Generator().manual_seed(5)
    chosen = ls.drawn(theirs[0, 0].numel(), 3, generator)
    theirs = theirs.flatten(2).gather(2, chosen[:, None].expand(-1, theirs.shape[1], -1)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_refitted_filter_equals_the_library_solution_on_its_support() -> None:
    generator = torch.Generator().manual_seed(0)
    read, target = torch.randn(200, 12, generator=generator), torch.randn(200, 3, generator=generator)
    layer = nn.Linear(12, 3).requires_grad_(False)
    layer.weight[torch.rand(3, 12, generator=generator) < 0.5] = 0
    before = copy.deepcopy(layer)
    ls.fit(layer, [read], target)
    centerd, wanted = (read - read.mean(0)).double(), (target - target.mean(0)).double()
    ridge = ls.RIDGE * centerd.square().sum(0).mean()
    for row in range(3):
        kept = before.weight[row] != 0
        # ridge towards w⁰ as an augmented ordinary least-squares problem
        matrix = torch.cat([centerd[:, kept], ridge.sqrt() * torch.eye(int(kept.sum()), dtype=torch.float64)])
        values = torch.cat([wanted[:, row], ridge.sqrt() * before.weight[row, kept].double()])
        expected = torch.linalg.lstsq(matrix, values).solution
        torch.testing.assert_close(layer.weight[row, kept].double(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((read @ layer.weight.T + layer.bias).mean(0), target.mean(0))


def test_with_nothing_pruned_every_weight_stays_where_it_was() -> None:
    dense, calibration = small(), Calibration(inputs(128))
    recalibrate(dense, calibration)  # statistics that another estimate would not move
    private = copy.deepcopy(dense)
    ls.least_squares(dense, private, calibration, ignore)
    for name, weight in prunable(private).items():
        torch.testing.assert_close(weight, prunable(dense)[name], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def everything() -> Library:
    return Library(EVERYTHING)


@pytest.mark.parametrize(("sparsity", "least"), [(0.8, 0.88), (0.9, 0.74), (0.95, 0.50)])
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
