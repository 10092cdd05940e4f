"""A network in its quickest form is the same network: folded norms, other layouts, blocks that wait for one another."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reflow_core import Library
from reflow_core.batches import at_once
from reflow_core.diagnosis import form
from reflow_core.diagnosis.evaluate import observe
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.machine import Memory, allow
from reflow_core.networks.vision import torchvision
from reflow_core.repairs import Calibration, estimators
from reflow_core.repairs.reflow import recalibrate
from reflow_core.signal.fold import Folded, foldable, folded
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.moments import channel_moments, image_moments, image_readings, is_channels_last
from reflow_core.signal.trace import trace
from reflow_core.sources import library as library_module
from reflow_core.watch import ignore

SHIPPED = tuple(path.stem for path in sorted(library_module.SHIPPED.glob("*.safetensors")))
PUBLIC = ("resnet50", "mobilenet_v2", "convnext_tiny")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def public(name: str) -> nn.Module:
    """Of random weights, its norms with statistics that are not the initial ones."""
    torch.manual_seed(0)
    network: nn.Module = getattr(torchvision().models, name)()
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    return network.eval().requires_grad_(False)


def same(network: nn.Module, images: Tensor) -> None:
    """Asserts that every form of a network predicts as the network does."""
    folds = foldable(network, trace(network, images[:1]).sites, images[:1])
    with torch.inference_mode():
        expected = network(images)
        for layout in form.LAYOUTS.values():
            logits = form.Form(folds, layout).of(network)(images.contiguous(memory_format=layout))
            assert (logits.argmax(1) == expected.argmax(1)).float().mean() >= 0.999
            assert (logits - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_predicts_the_same_in_every_form(library: Library, name: str) -> None:
    network = library.network(name).module
    before = {key: (value.clone(), value.stride()) for key, value in network.state_dict().items()}
    same(network, torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    for key, value in network.state_dict().items():  # which all visitors share
        assert torch.equal(value, before[key][0])
        assert value.stride() == before[key][1]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_network_predicts_the_same_in_every_form(name: str) -> None:
    same(public(name), torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


def test_all_norms_of_a_plain_residual_network_are_folded(library: Library) -> None:
    network, images = library.network("resnet20-digits").module, torch.randn(1, 3, 16, 16)
    folds = foldable(network, trace(network, images).sites, images)
    assert folds.keys() == batch_norms(network).keys()
    assert not batch_norms(folded(network, folds))


class Overheard(nn.Module):
    """A convolution whose output is read beside its norm, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)
        self.norm.running_var.fill_(4.0)  # type: ignore[union-attr, operator]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head((self.norm(x) + x).mean((2, 3)))  # type: ignore[no-any-return]


def test_nothing_is_folded_where_something_else_reads_the_layer() -> None:
    network, images = Overheard().eval(), torch.randn(4, 3, 8, 8)
    sites = trace(network, images[:1]).sites
    assert [(site.name, site.weights) for site in sites] == [("norm", "conv")]
    assert foldable(network, sites, images[:1]) == {}


def test_a_norm_with_a_scale_of_zero_stays_and_signals_are_those_of_the_plain_network(library: Library) -> None:
    network = copy.deepcopy(library.network("resnet20-digits").module)
    images = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    name, norm = next(iter(batch_norms(network).items()))
    norm.weight[3] = 0.0
    plan = trace(network, images[:1])
    folds = foldable(network, plan.sites, images[:1])
    assert list(batch_norms(folded(network, folds))) == [name]
    plain = observe(network, plan, images.__getitem__, None, 40, ignore, "test")
    for layout in form.LAYOUTS.values():
        quick = observe(network, plan, images.__getitem__, None, 40, ignore, "test", form.Form(folds, layout))
        assert quick.signals.keys() == plain.signals.keys()
        for site, signal in quick.signals.items():
            np.testing.assert_allclose(signal.variance, plain.signals[site].variance, rtol=1e-3, atol=1e-9)
            np.testing.assert_allclose(signal.sketch, plain.signals[site].sketch, rtol=1e-3, atol=1e-4)
            assert signal.eps_floor == pytest.approx(plain.signals[site].eps_floor, rel=1e-3)


def test_a_folded_norm_says_what_the_layer_took_over() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).eval()
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_var.fill_(4.0)  # type: ignore[union-attr, operator]
    quick = folded(network, {"1": "0"})
    replaced = quick.get_submodule("1")
    assert isinstance(replaced, Folded)
    np.testing.assert_allclose(replaced.scale, (4 + norm.eps) ** -0.5)


@pytest.mark.parametrize("shape", [(70, 8, 5, 5), (9, 24, 40, 40), (3, 1, 8, 8), (5, 7, 1, 1), (300, 16, 16, 16)])
@pytest.mark.parametrize("layout", form.LAYOUTS)
def test_readings_of_both_layouts_equal_numpy(shape: tuple[int, ...], layout: str) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, shape[1])[:, None, None]
    x = (x + 0.01).contiguous(memory_format=form.LAYOUTS[layout])
    exact = x.double().numpy()
    mean, variance = image_moments(*image_readings(x))
    np.testing.assert_allclose(mean, exact.mean((2, 3)), rtol=1e-5, atol=1e-5 * exact.std())
    np.testing.assert_allclose(variance, exact.var((2, 3)), rtol=1e-4, atol=1e-12)
    merged = channel_moments(x)
    np.testing.assert_allclose(merged.variance, exact.var((0, 2, 3)), rtol=1e-4)
    assert merged.count == exact[:, 0].size


def test_a_layout_is_told_by_how_images_lie() -> None:
    x = torch.randn(4, 8, 5, 5)
    assert not is_channels_last(x)
    assert is_channels_last(x.contiguous(memory_format=torch.channels_last))
    assert is_channels_last(x.contiguous(memory_format=torch.channels_last)[1:3])


def test_a_race_is_run_once_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLOW_CACHE", str(tmp_path))
    races = []
    race = lambda: races.append(1) or "channels last"  # type: ignore[func-returns-value]  # noqa: E731
    assert [form.remembered("one", race, form.LAYOUTS) for _ in range(3)] == ["channels last"] * 3
    assert form.remembered("other", race, form.LAYOUTS) == "channels last"
    assert len(races) == 2
    (tmp_path / "layouts.json").write_text("{broken")
    assert form.remembered("one", race, form.LAYOUTS) == "channels last"


def test_a_winner_takes_the_least_time() -> None:
    class Slow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not is_channels_last(x):
                threading.Event().wait(0.02)
            return x.mean((2, 3))

    assert form.winner(Slow(), torch.randn(4, 3, 8, 8)) == "channels last"


class Branched(nn.Module):
    """A norm that two places share, a norm that never runs, a shortcut, dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.shared = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.never = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.last, self.drop = nn.BatchNorm2d(6), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.first(x))
        return self.drop(self.last(x + self.shared(self.second(x.relu())))).mean((2, 3))  # type: ignore[no-any-return]


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items() if "running" in key}


def small_blocks(monkeypatch: pytest.MonkeyPatch, images: int = 7) -> None:
    monkeypatch.setattr(estimators, "at_once", lambda inputs, device, most=images: images)


@pytest.mark.parametrize("layout", form.LAYOUTS)
def test_blocks_in_step_give_what_one_batch_gives(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    together, apart = (form.lay_out(Branched().eval(), form.LAYOUTS[layout]) for _ in range(2))
    recalibrate(together, Calibration(images))
    small_blocks(monkeypatch)
    seen: list[tuple[str, int, int]] = []
    report = recalibrate(apart, Calibration(images), lambda *at: seen.append(at))
    assert report == "Running mean and variance of 3 BatchNorm layers, from 40 images."
    for key, value in statistics(together).items():
        torch.testing.assert_close(value, statistics(apart)[key], rtol=1e-4, atol=1e-5)
    assert {stage for stage, _, _ in seen} == {"calibrate"}
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert not [thread for thread in threading.enumerate() if thread.name == "reflow-block"]


def test_what_ends_a_pass_in_blocks_ends_all_of_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)

    def cancel(stage: str, done: int, total: int) -> None:
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        recalibrate(Branched().eval(), Calibration(torch.randn(40, 3, 8, 8)), cancel)
    with pytest.raises(RuntimeError, match="expected input"):
        recalibrate(Branched().eval(), Calibration(torch.randn(40, 4, 8, 8)))
    assert not [thread for thread in threading.enumerate() if thread.name == "reflow-block"]


def test_a_network_whose_blocks_take_different_ways_is_calibrated_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fickle(Branched):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if len(x) == 7 else self.last(self.first(x)).mean((2, 3))

    images = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    together, apart = Fickle().eval(), Fickle().eval()
    recalibrate(together, Calibration(images))
    small_blocks(monkeypatch)
    recalibrate(apart, Calibration(images))
    torch.testing.assert_close(apart.last.running_var, together.last.running_var)


def test_a_bound_on_memory_is_kept_norm_by_norm(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    free, bounded = (copy.deepcopy(library.network("resnet20-digits").module) for _ in range(2))
    recalibrate(free, Calibration(images))
    small_blocks(monkeypatch)
    monkeypatch.setattr(Memory, "most", 2 * 40 * 16 * 16 * 16 * 4 - 1)  # bytes of what arrives at the first norm, twice
    assert "low on memory" in recalibrate(bounded, Calibration(images))
    for key, value in statistics(free).items():
        torch.testing.assert_close(value, statistics(bounded)[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("amount", "expected"), [("4GB", 4 * 10**9), ("800 MB", 8 * 10**8), (None, None)])
def test_an_amount_of_memory_is_read(amount: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "most", 1)
    allow(amount)
    assert Memory.most == expected


@pytest.mark.parametrize("amount", ["", "four", "4", "1.2.3GB", "-1GB"])
def test_anything_else_is_refused(amount: str) -> None:
    with pytest.raises(ReflowError, match="4GB"):
        allow(amount)


def test_large_images_pass_a_few_at_a_time_and_small_ones_many() -> None:
    assert at_once(torch.zeros(1, 3, 224, 224), CPU) == 16
    assert at_once(torch.zeros(1, 3, 32, 32), CPU) == 192
    assert at_once(torch.zeros(1, 3, 2000, 2000), CPU) == 1
    assert at_once(torch.zeros(1, 3, 224, 224), torch.device("cuda")) == 192
