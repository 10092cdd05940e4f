"""What a diagnosis costs, against bare forward passes and against the obvious pipeline."""

from __future__ import annotations

import copy
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.evaluate import observe
from reflow_core.lab.executors import threads
from reflow_core.lab.request import Context
from reflow_core.lab.store import Store
from reflow_core.lab.study import GRID, configurations
from reflow_core.machine import cores, prepare
from reflow_core.memo import Memo
from reflow_core.networks.catalog import find
from reflow_core.networks.vision import torchvision
from reflow_core.pruning.allocations import Budget
from reflow_core.pruning.masks import EachTime, Scores
from reflow_core.pruning.select import Rules, select
from reflow_core.signal.trace import trace
from reflow_core.sources.access import EVERYTHING
from reflow_core.watch import ignore

SHARED = Path(__file__).resolve().parents[3] / "shared"
IMAGES = 512
ROUNDS = 15
BATCH = 128


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    bound: float
    value: float
    at_most: bool = True
    note: str = ""


def paired(
    first: Callable[[int], object], second: Callable[[int], object], rounds: int = ROUNDS
) -> tuple[float, float]:
    """Median seconds of two actions done in turn, after one warm-up of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for action, kept in zip((first, second), times, strict=True):
            start = time.perf_counter()
            action(number)
            kept.append(time.perf_counter() - start)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def subject(folder: Path) -> tuple[Library, Spec]:
    """ResNet-20 at 32x32 on 512 images: the public weights and real images where they are, else random ones."""
    weights, data = SHARED / "weights" / "resnet20-12fca82f.th", SHARED / "data" / "cifar10_sample.npz"
    if not weights.is_file():
        torch.manual_seed(0)
        weights = folder / "random.pt"
        torch.save(find("resnet20-cifar10").build(10).state_dict(), weights)
    if not data.is_file():
        data = folder / "random.npz"
        pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
        np.savez(data, test_images=pixels, train_images=pixels)
    model = f"resnet20-cifar10@{weights}"
    return Library(EVERYTHING), Spec(model, str(data), calibration_images=IMAGES, evaluation_images=IMAGES)


def bare(network: nn.Module, inputs: Tensor) -> None:
    """One forward pass and nothing else."""
    with torch.inference_mode():
        for part in inputs.split(BATCH):
            network(part)


def obvious(network: nn.Module, inputs: Tensor, labels: Tensor, sparsity: float) -> None:
    """The pipeline one would write first: prune utilities, hooks that compute `.var()`, DataLoader, update_bn."""
    pruned = copy.deepcopy(network).requires_grad_(True)
    layers = [(module, "weight") for module in pruned.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=sparsity)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=BATCH)
    _evaluate_with_hooks(network, loader)
    _evaluate_with_hooks(pruned, loader)
    torch.optim.swa_utils.update_bn(loader, pruned)
    _evaluate_with_hooks(pruned.eval(), loader)


def _evaluate_with_hooks(network: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> None:
    found: list[Tensor] = []
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_hook(lambda m, i, out: found.append(out.var((0, 2, 3)))) for norm in norms]
    with torch.no_grad():
        for inputs, labels in loader:
            (network(inputs).argmax(1) == labels).sum()
    for handle in handles:
        handle.remove()


def cost() -> Iterator[Row]:
    """One cold diagnosis, dense known and unknown, and the obvious pipeline."""
    prepare()
    with tempfile.TemporaryDirectory() as name:
        library, spec = subject(Path(name))
        network = library.network(spec.model).module
        inputs, labels = torch.randn(IMAGES, 3, 32, 32), torch.zeros(IMAGES, dtype=torch.int64)
        diagnose(spec, library)
        fresh = itertools.count(500)  # every diagnosis is of a sparsity not seen before
        known = lambda _: diagnose(spec.replace(sparsity=next(fresh) / 1000), library)  # noqa: E731
        ours, passes = paired(known, lambda _: [bare(network, inputs) for _ in range(3)])
        yield Row(
            "diagnose, dense known / three bare passes", 1.15, ours / passes, note=f"{ours:.2f} s / {passes:.2f} s"
        )

        def forgetful(_: int) -> None:
            library._shelves["facts"] = Memo(size=64)
            known(0)

        cold, six = paired(forgetful, lambda _: [bare(network, inputs) for _ in range(6)])  # three are the above,
        note = f"{cold:.2f} s / {six:.2f} s"  # one is dense, two recalibrate it and look again: the control
        yield Row("diagnose, dense and control unknown / six bare passes", 1.15, cold / six, note=note)
        ours, slow = paired(known, lambda _: obvious(network, inputs, labels, 0.8), rounds=7)
        yield Row("obvious pipeline / diagnose", 1.8, slow / ours, at_most=False, note=f"{slow:.2f} s / {ours:.2f} s")


def probing() -> Iterator[Row]:
    """Moments and sketch in the predicting pass, on the first 128 of 512 images."""
    prepare()
    network = find("resnet20-cifar10").build(10).eval()
    inputs = torch.randn(IMAGES, 3, 32, 32)
    plan = trace(network, inputs[:1])
    probed, plain = paired(
        lambda _: observe(network, plan, inputs.__getitem__, None, IMAGES, ignore, "probe"),
        lambda _: bare(network, inputs),
        rounds=31,
    )
    yield Row("pass with probes / bare pass", 1.08, probed / plain, note=f"{probed:.3f} s / {plain:.3f} s")


def sweeping() -> Iterator[Row]:
    """A sweep of 20 points and 3 criteria, against the bare passes over the same images that it needs."""
    prepare(cores())
    library, base = Library(), Spec()
    network, images = library.network(base.model).module, library.images(base)
    evaluation, calibration = (torch.randn(count, 3, 16, 16) for count in (len(images.test), base.calibration_images))
    chosen = configurations(base, CRITERIA, ["none"], ["reflow"])
    specs = [each.replace(sparsity=sparsity) for sparsity in GRID for each in chosen]
    ours = bare_passes = 0.0
    with tempfile.TemporaryDirectory() as folder, threads(Context(library, Store(Path(folder)))) as submit:
        for some in (specs[at : at + TOGETHER] for at in range(0, len(specs), TOGETHER)):
            start = time.perf_counter()
            wait([submit(spec) for spec in some])
            middle = time.perf_counter()
            for inputs in (evaluation, calibration, evaluation) * len(some):
                bare(network, inputs)
            ours, bare_passes = ours + middle - start, bare_passes + time.perf_counter() - middle
    bare_passes += bare_passes / len(specs)  # the dense network once, and its control twice
    yield Row(
        "sweep, 20 points and 3 criteria / bare passes",
        1.15,
        ours / bare_passes,
        note=f"{ours:.0f} s, {CRITERIA}",
    )


def threshold() -> Iterator[Row]:
    """A new threshold over the weights of ResNeXt-101 (32x8d) after the first, in a process of its own."""
    told = subprocess.run([sys.executable, "-m", "tests.benchmarks.core"], capture_output=True, text=True, check=True)
    count, seconds, extra = (float(part) for part in told.stdout.split())
    yield Row("seconds for a new threshold over ResNeXt-101", 0.4, seconds, note=f"{count / 1e6:.0f} M weights")
    yield Row("extra memory / weights", 1.3, extra, note="scores, sorted values and masks together")


def _threshold() -> None:
    with torch.device("meta"):
        shapes = [w.shape for w in torchvision().models.resnext101_32x8d().parameters() if w.ndim > 1]
    weights = {str(place): torch.randn(shape) for place, shape in enumerate(shapes)}
    size = sum(weight.numel() for weight in weights.values())
    select(Scores(EachTime({"warm": torch.randn(1000, 10)}, torch.abs)), Rules("global", Budget(0.5)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores = Scores(EachTime(weights, torch.abs))
    times = []
    for sparsity in (0.5, 0.7, 0.8, 0.9, 0.95):
        start = time.perf_counter()
        select(scores, Rules("global", Budget(sparsity)))
        times.append(time.perf_counter() - start)
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * size)
    print(size, statistics.median(times[1:]), extra)


TOGETHER = 12  # specs of a sweep between two looks at the bare passes
CRITERIA = ("magnitude", "random", "snip")
BENCHMARKS = (probing, cost, sweeping, threshold)

if __name__ == "__main__":
    _threshold()
