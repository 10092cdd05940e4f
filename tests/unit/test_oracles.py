"""Every numeric routine against a closed form, an independent implementation or a library."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor, nn
from torch.nn.utils import prune

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis import statistics
from reflow_core.diagnosis.evaluate import observe
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.errors import Cancelled
from reflow_core.networks.catalog import find
from reflow_core.networks.checkpoint import fingerprint
from reflow_core.networks.vision import torchvision
from reflow_core.pruning.allocations import Budget
from reflow_core.pruning.masks import Masks, Scores, install, sparsity_of
from reflow_core.pruning.select import Rules, select
from reflow_core.repairs import Calibration
from reflow_core.repairs.reflow import recalibrate
from reflow_core.signal import similarity
from reflow_core.signal.layers import batch_norms, prunable
from reflow_core.signal.moments import Moments, channel_moments
from reflow_core.signal.trace import trace
from reflow_core.watch import ignore


def magnitudes(network: nn.Module) -> Scores:
    return Scores({name: weight.abs() for name, weight in prunable(network).items()})


def masks_of(scores: Scores, allocation: str, sparsity: float) -> Masks:
    return select(scores, Rules(allocation, Budget(sparsity)))


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = find("resnet20-digits").build(10)
    with torch.no_grad():
        network(torch.randn(64, 3, 16, 16))  # statistics that are not the initial ones
    return network.eval().requires_grad_(False)


def pruned(network: nn.Module, sparsity: float = 0.7) -> nn.Module:
    private = copy.deepcopy(network)
    masks = masks_of(magnitudes(network), "global", sparsity)
    install(private, {name: weight * masks[name] for name, weight in prunable(network).items()})
    return private


@pytest.mark.parametrize("sparsity", [0.0, 0.013, 0.5, 0.8, 0.99])
def test_global_masks_equal_torch_prune(sparsity: float) -> None:
    network = small()
    masks = masks_of(magnitudes(network), "global", sparsity)
    theirs = copy.deepcopy(network)
    layers = [(module, "weight") for module in theirs.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=sparsity)
    for name, mask in masks.items():
        module = theirs.get_submodule(name)
        expected = getattr(module, "weight_mask", torch.ones_like(mask, dtype=torch.float32))
        assert torch.equal(mask, expected.bool()), name


@given(count=some.integers(1, 200), sparsity=some.floats(0, 0.99), levels=some.integers(1, 5))
def test_ties_are_removed_exactly_and_in_order_of_position(count: int, sparsity: float, levels: int) -> None:
    generator = torch.Generator().manual_seed(count)
    values = torch.randint(0, levels, (count,), generator=generator).float()
    masks = masks_of(Scores({"a": values[: count // 2], "b": values[count // 2 :]}), "global", sparsity)
    removed = round(sparsity * count)
    order = sorted(range(count), key=lambda place: (values[place].item(), place))[:removed]
    kept = torch.cat([masks["a"], masks["b"]])
    assert (~kept).nonzero().flatten().tolist() == sorted(order)


def test_uniform_removes_the_same_fraction_of_each_layer_and_masks_are_nested() -> None:
    scores = magnitudes(small())
    for allocation in ("global", "uniform"):
        tight, loose = (masks_of(scores, allocation, sparsity) for sparsity in (0.9, 0.6))
        assert all(not (tight[name] & ~loose[name]).any() for name in tight), allocation
    for name, mask in masks_of(scores, "uniform", 0.6).items():
        assert int((~mask).sum()) == round(0.6 * mask.numel()), name
    assert sparsity_of(masks_of(scores, "global", 0.6)) == pytest.approx(0.6, abs=1e-5)


def layer_by_layer(network: nn.Module, inputs: Tensor) -> None:
    """The oracle of `population`: eval mode throughout, norm after norm, the earlier ones frozen."""
    for norm in [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]:
        seen: list[Tensor] = []
        handle = norm.register_forward_pre_hook(lambda m, i, seen=seen: seen.append(i[0].double()))
        with torch.no_grad():
            for part in inputs.split(24):
                network(part)
        handle.remove()
        everything = torch.cat(seen)
        norm.running_mean = everything.mean((0, 2, 3)).float()
        norm.running_var = everything.var((0, 2, 3), correction=0).float()


def test_population_equals_norm_by_norm_calibration() -> None:
    inputs = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    ours = pruned(small())
    theirs = copy.deepcopy(ours)
    recalibrate(ours, Calibration(inputs, "population", 128))
    layer_by_layer(theirs, inputs)
    for name, norm in batch_norms(ours).items():
        other = theirs.get_submodule(name)
        torch.testing.assert_close(norm.running_var, other.running_var, rtol=1e-4, atol=0)
        deviation = torch.as_tensor(other.running_var).sqrt()
        assert ((norm.running_mean - other.running_mean).abs() <= 1e-4 * deviation).all(), name  # type: ignore[operator]


def test_batch_mean_equals_update_bn() -> None:
    inputs = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    ours = pruned(small())
    theirs = copy.deepcopy(ours)
    recalibrate(ours, Calibration(inputs, "batch_mean", 32))
    torch.optim.swa_utils.update_bn(list(inputs.split(32)), theirs)
    for name, norm in batch_norms(ours).items():
        other = theirs.get_submodule(name)
        torch.testing.assert_close(norm.running_var, other.running_var, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(norm.running_mean, other.running_mean, rtol=1e-5, atol=1e-6)


def test_pooled_over_one_batch_equals_population() -> None:
    inputs = torch.randn(48, 3, 16, 16)
    one, other = pruned(small()), pruned(small())
    recalibrate(one, Calibration(inputs, "pooled", 48))
    recalibrate(other, Calibration(inputs, "population", 128))
    for name, norm in batch_norms(one).items():
        torch.testing.assert_close(norm.running_var, other.get_submodule(name).running_var, rtol=1e-5, atol=0)


@pytest.mark.parametrize("statistics", ["population", "pooled", "batch_mean", "ema"])
def test_reflow_touches_no_weight_and_puts_everything_back(statistics: str) -> None:
    private = pruned(small())
    before = {name: parameter.clone() for name, parameter in private.named_parameters()}
    counters = [norm.num_batches_tracked.clone() for norm in batch_norms(private).values()]  # type: ignore[union-attr]
    stale = [norm.running_var.clone() for norm in batch_norms(private).values()]  # type: ignore[union-attr]
    recalibrate(private, Calibration(torch.randn(64, 3, 16, 16), statistics, 32))
    assert all(torch.equal(parameter, before[name]) for name, parameter in private.named_parameters())
    norms = list(batch_norms(private).values())
    assert not any(module.training for module in private.modules())
    assert all(norm.momentum == 0.1 and not norm._forward_pre_hooks for norm in norms)
    assert [norm.num_batches_tracked for norm in norms] == counters
    assert not any(torch.equal(norm.running_var, old) for norm, old in zip(norms, stale, strict=True))  # type: ignore[arg-type]


def test_a_cancelled_calibration_leaves_no_mode_or_hook_behind() -> None:
    private = pruned(small())

    def stop(stage: str, done: int, total: int) -> None:
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        recalibrate(private, Calibration(torch.randn(64, 3, 16, 16), "pooled", 16), stop)
    assert not any(module.training or module._forward_pre_hooks for module in private.modules())


def test_after_reflow_parameters_equal_dense_times_mask_bit_for_bit() -> None:
    dense, private = small(), pruned(small(), 0.8)
    masks = masks_of(magnitudes(dense), "global", 0.8)
    recalibrate(private, Calibration(torch.randn(64, 3, 16, 16), "population", 128))
    for name, parameter in private.named_parameters():
        layer = name.removesuffix(".weight")
        expected = dense.get_parameter(name) * masks[layer] if layer in masks else dense.get_parameter(name)
        assert torch.equal(parameter, expected), name


class NormOfEpsilons(nn.BatchNorm2d):
    """A BatchNorm with an ε for each channel."""

    epsilons: Tensor

    def forward(self, x: Tensor) -> Tensor:
        mean, scale = self.running_mean, self.weight * (self.running_var + self.epsilons).rsqrt()  # type: ignore[operator]
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]  # type: ignore[index]


@pytest.fixture(scope="module")
def fading(library: Library) -> tuple[nn.Module, Tensor, dict[str, str]]:
    """The digits ResNet-20 without 90 % of its weights, images, and each convolution's norm; in float64."""
    with Experiment.open(Spec(sparsity=0.9, calibration_images=128), library, ignore) as experiment:
        network, images = experiment.clone(experiment.prune()), experiment.pruner.calibration.inputs
        behind = {site.weights: site.name for site in experiment.trace.sites if site.weights}
    assert len(behind) == 19
    return network.double(), images.double(), behind


def recalibrated(
    network: nn.Module, images: Tensor, scales: dict[str, Tensor], epsilon: float = 1e-5, statistics: str = "population"
) -> Tensor:
    """Logits after REFLOW of a copy in which output channels (C,) of layers are scaled, their biases too."""
    private = copy.deepcopy(network)
    for norm in batch_norms(private).values():
        norm.eps = epsilon
    with torch.no_grad():
        for name, scale in scales.items():
            for parameter in private.get_submodule(name).parameters():
                parameter.mul_(scale.view(-1, *[1] * (parameter.ndim - 1)))
        recalibrate(private, Calibration(images, statistics, 32))
        logits: Tensor = private(images)
    return logits


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of a logit, as a fraction of the largest logit."""
    return float((one - other).abs().max() / other.abs().max())


def test_a_scale_in_front_of_a_recalibrated_norm_cancels_but_for_epsilon(
    fading: tuple[nn.Module, Tensor, dict[str, str]],
) -> None:
    """f·x has f·μ and f²·σ²: (f·x − f·μ) / √(f²σ² + ε) = (x − μ) / √(σ² + ε/f²)."""
    network, images, behind = fading
    generator = torch.Generator().manual_seed(0)
    widths = {name: len(network.get_submodule(name).get_parameter("weight")) for name in behind}
    scales = {
        name: torch.exp(4 * torch.rand(width, generator=generator, dtype=torch.float64) - 2)
        for name, width in widths.items()
    }
    plain, scaled = (recalibrated(network, images, each) for each in ({}, scales))
    without_epsilon = [recalibrated(network, images, each, 1e-30) for each in ({}, scales)]
    assert apart(*without_epsilon) < 1e-7  # moments are read in float32
    equal = copy.deepcopy(network)
    for name, norm in behind.items():
        own = equal.get_submodule(norm)
        own.__class__, own.epsilons = NormOfEpsilons, 1e-5 / scales[name] ** 2
    assert apart(recalibrated(equal, images, {}), scaled) < 1e-7 < 1e-5 < apart(plain, scaled) < 0.01
    assert torch.equal(plain.argmax(1), scaled.argmax(1))


def test_a_scale_stays_where_no_norm_follows_where_epsilon_is_larger_and_in_a_running_average(
    fading: tuple[nn.Module, Tensor, dict[str, str]],
) -> None:
    network, images, behind = fading
    plain, factors = recalibrated(network, images, {}), torch.linspace(0.5, 2, 10, dtype=torch.float64)
    torch.testing.assert_close(recalibrated(network, images, {"linear": factors}), plain * factors)
    fainter = {name: torch.full((), 1e-4, dtype=torch.float64) for name in behind}  # σ² falls below ε
    assert apart(recalibrated(network, images, fainter), plain) > 0.5
    assert apart(recalibrated(network, images, fainter, 1e-30), recalibrated(network, images, {}, 1e-30)) < 1e-7
    louder = {name: torch.full((), 4.0, dtype=torch.float64) for name in behind}
    averages = [recalibrated(network, images, each, statistics="ema") for each in ({}, louder)]
    assert apart(*averages) > 0.1
    assert apart(recalibrated(network, images, louder), plain) < 0.01


@given(cuts=some.lists(some.integers(1, 31), max_size=6))
def test_moments_do_not_depend_on_how_the_images_are_split(cuts: list[int]) -> None:
    x = torch.randn(32, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 7
    edges = [0, *sorted(set(cuts)), 32]
    merged = Moments.empty(3)
    for start, stop in itertools.pairwise(edges):
        merged = merged.merge(channel_moments(x[start:stop]))
    torch.testing.assert_close(merged.mean, x.double().mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(merged.variance, x.double().var((0, 2, 3), correction=0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_a_nearly_constant_channel_is_measured_right(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(64, 4, size, size, generator=generator, dtype=torch.float64) * 1e-4 + 0.3).float()
    found = channel_moments(x).variance
    torch.testing.assert_close(found, x.double().var((0, 2, 3), correction=0), rtol=0.01, atol=0)


def test_a_constant_channel_has_variance_zero_and_nan_stays_nan() -> None:
    x = torch.full((8, 2, 4, 4), 5.0)
    x[:, 1, 0, 0] = torch.nan
    variance = channel_moments(x).variance
    assert variance[0] == 0
    assert variance[1].isnan()


@pytest.mark.parametrize("model", ["resnet20-digits", "convnext-digits", "vit-digits"])
def test_layer_variances_equal_an_independent_hooks(library: Library, model: str) -> None:
    network = copy.deepcopy(library.network(model).module)
    x = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plan = trace(network, x[:1])
    found = observe(network, plan, x.__getitem__, None, 40, ignore, "test")
    outputs: dict[str, Tensor] = {}
    for site in plan.sites:
        keep = lambda m, i, out, name=site.name: outputs.__setitem__(name, out.double())  # noqa: E731
        network.get_submodule(site.name).register_forward_hook(keep)
    with torch.no_grad():
        network(x)
    for name, signal in found.signals.items():
        out = outputs[name] if model.startswith("resnet") else outputs[name].movedim(-1, 1)
        dims = tuple(dim for dim in range(out.ndim) if dim != 1)
        np.testing.assert_allclose(signal.variance, out.var(dims, correction=0), rtol=1e-4, atol=1e-10)
        np.testing.assert_allclose(signal.sketch, out.flatten(2).mean(2) if out.ndim > 2 else out, rtol=1e-3, atol=1e-4)


def test_sites_name_the_weights_that_feed_them_and_list_what_cannot_be_measured() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.twice, self.never = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
            self.once = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.twice(self.twice(self.once(self.conv(x))))

    plan = trace(Odd().eval(), torch.randn(1, 3, 4, 4))
    assert [(site.name, site.weights) for site in plan.sites] == [("once", "conv")]
    assert dict(plan.unmeasured).keys() == {"twice", "never"}


class Curious(nn.Module):
    """One of each kind of layer that is not in the shipped networks."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.sync = nn.Conv2d(3, 6, 3, groups=3, padding=1), nn.SyncBatchNorm(6)
        self.dilated, self.frozen = nn.Conv2d(6, 6, 3, dilation=2, padding=2), torchvision().ops.FrozenBatchNorm2d(6)
        self.shortcut, self.down = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
        self.up, self.instance = nn.ConvTranspose2d(6, 4, 2, stride=2), nn.InstanceNorm2d(4)
        self.line, self.flat = nn.Conv1d(4, 5, 3, padding=1), nn.BatchNorm1d(5)
        self.cube, self.solid = nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2)
        self.linear, self.rms, self.plain = nn.Linear(10, 7), nn.RMSNorm(7), nn.LayerNorm(7)
        self.local, self.shared = nn.LocalResponseNorm(2), nn.BatchNorm2d(6, track_running_stats=False)
        self.spare = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.sync(self.grouped(x)) + self.down(self.shortcut(x))
        x = self.local(self.shared(self.shared(self.frozen(self.dilated(x)))))
        x = self.flat(self.line(self.instance(self.up(x)).flatten(2)))
        x = self.solid(self.cube(x[:, None, :, :, None])).mean(3).flatten(1, 2).mean(2)
        return self.plain(self.rms(self.linear(x)))


def test_odd_layers_are_measured_as_independent_hooks_do_or_listed_with_the_reason() -> None:
    torch.manual_seed(0)
    network, images = Curious().eval(), torch.randn(16, 3, 8, 8)
    for module in network.modules():
        if isinstance(getattr(module, "running_var", None), Tensor):
            module.get_buffer("running_var").uniform_(0.5, 2)
    plan = trace(network, images[:1])
    assert [(site.name, site.weights) for site in plan.sites] == [
        ("sync", "grouped"), ("down", "shortcut"), ("frozen", "dilated"), ("instance", "up"), ("flat", "line"),
        ("solid", "cube"), ("rms", "linear"), ("plain", None),
    ]  # fmt: skip
    assert dict(plan.unmeasured).keys() == {"shared", "spare", "local"}
    outputs: dict[str, Tensor] = {}
    for name in [site.name for site in plan.sites]:
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: outputs.__setitem__(name, output.double())  # type: ignore[misc]
        )
    found = observe(network, plan, images.__getitem__, None, len(images), ignore, "probe")
    for name, output in outputs.items():
        last = name in ("rms", "plain")
        dims = [dim for dim in range(output.ndim) if dim != (output.ndim - 1 if last else 1)]
        np.testing.assert_allclose(found.signals[name].variance, output.var(dims, correction=0), rtol=1e-4, atol=1e-9)
    report = recalibrate(network, Calibration(images))
    assert "5 BatchNorm layers" in report


@given(trials=some.integers(1, 5000), share=some.floats(0, 1))
def test_wilson_equals_scipy(trials: int, share: float) -> None:
    successes = round(share * trials)
    theirs = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert statistics.wilson(successes, trials) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(some.lists(some.integers(0, 100), min_size=1, max_size=20).filter(any))
def test_entropy_equals_scipy(counts: list[int]) -> None:
    assert statistics.entropy(np.array(counts)) == pytest.approx(scipy.stats.entropy(counts, base=2), abs=1e-12)


def unbiased_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC_1 of Song et al. (2012), in kernel space."""
    n = len(k)
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    ones = np.ones(n)
    total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float((total - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3)))


def test_cka_equals_the_kernel_space_estimator() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 6)), random.normal(size=(40, 9))
    y[:, :3] += 2 * x[:, :3]
    kernels = x @ x.T, y @ y.T
    own = np.sqrt(unbiased_hsic(kernels[0], kernels[0]) * unbiased_hsic(kernels[1], kernels[1]))
    assert similarity.cka(x, y) == pytest.approx(unbiased_hsic(*kernels) / own, rel=1e-9)
    assert similarity.cka(x, 3 * x + 1) == pytest.approx(1)
    assert np.isnan(similarity.cka(x, np.ones_like(x)))


def test_separability_equals_brute_force_leave_one_out() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 50)
    features = random.normal(size=(50, 5)) + labels[:, None] * 0.4
    scaled = (features - features.mean(0)) / features.std(0)
    right = 0
    for left_out in range(50):
        rest = np.arange(50) != left_out
        means = [scaled[rest & (labels == label)].mean(0) for label in range(4)]
        right += int(np.argmin([((scaled[left_out] - mean) ** 2).sum() for mean in means]) == labels[left_out])
    assert similarity.separability(features, labels) == right / 50
    assert similarity.separability(features * 1e-6, labels) == right / 50


def test_twenty_threads_on_one_model_give_the_serial_results(library: Library) -> None:
    from concurrent.futures import ThreadPoolExecutor

    before = fingerprint(library.network("resnet20-digits").module)
    specs = [Spec(sparsity=round(0.04 * n, 2), evaluation_images=48, calibration_images=32) for n in range(20)]
    serial = [diagnose(spec, Library()) for spec in specs]
    with ThreadPoolExecutor(20) as threads:
        parallel = list(threads.map(lambda spec: diagnose(spec, library), specs))
    for one, other in zip(serial, parallel, strict=True):
        assert one.outcomes().keys() == other.outcomes().keys()
        for variant in one.predictions:
            assert one.outcome(variant).accuracy == other.outcome(variant).accuracy
            mine = [layer.variance_ratio(variant) for layer in one.layers]
            assert mine == pytest.approx([layer.variance_ratio(variant) for layer in other.layers], rel=1e-6)
    assert fingerprint(library.network("resnet20-digits").module) == before
