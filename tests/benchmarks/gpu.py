"""Where a CUDA GPU is at hand: what a large network costs there, and whether it agrees with the CPU."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from reflow_core import Library, Spec, diagnose
from reflow_core.lab.sweep import along
from reflow_core.machine import describe, devices, prepare
from reflow_core.networks.vision import torchvision
from reflow_core.pruning.prune import prune
from reflow_core.repairs import Calibration
from reflow_core.repairs.reflow import recalibrate
from reflow_core.sources.access import EVERYTHING
from tests.benchmarks.core import SHARED, Row

DEVICE = "cuda"
PICTURES = SHARED / "data" / "imagenet_sample"
IMAGES = 1024
ROUNDS = 5
TWO_OF_FOUR = (10_240, 10_240)  # a layer of a large network, which the sparse tensor cores are made for


def gpu() -> Iterator[Row]:
    """All that the README says of a GPU; one sentence where there is none."""
    if DEVICE not in devices():
        print("no CUDA GPU on this machine: its benchmarks are left out")
        return
    prepare()
    print(describe(DEVICE))
    yield _large()
    yield from _agreement()
    yield _passes()
    yield from _two_of_four()
    yield _sweep()


def seconds(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median of an action's seconds on the GPU, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def _large() -> Row:
    """Prune a ResNeXt-101 to 80 % and recalibrate it on 1,024 images."""
    torch.manual_seed(0)
    network = torchvision().models.resnext101_32x8d().eval().to(DEVICE)
    images = torch.randn(IMAGES, 3, 224, 224)

    def whole() -> None:
        prune(network, 0.8)
        recalibrate(network, Calibration(images))

    taken = seconds(whole, rounds=3)
    return Row(f"ResNeXt-101, prune + recalibrate on {IMAGES:,} images: s", 5.0, taken, note="224×224, 80 %")


def _agreement() -> Iterator[Row]:
    """The accuracies of a diagnosis on the GPU against those on the CPU, in points."""
    for model in ("resnet20-digits", "mobilenet-digits", "vit-digits"):
        spec, shared = Spec(model), Library(EVERYTHING)
        both = [diagnose(spec, Library(EVERYTHING, shared=shared, device=device)) for device in ("cpu", DEVICE)]
        outcomes = [diagnosis.outcomes() for diagnosis in both]
        off = max(abs(outcomes[0][name].score - outcomes[1][name].score) for name in outcomes[0])
        yield Row(f"{model}, accuracy on the GPU − on the CPU: points", 0.5, 100 * off)


def _passes() -> Row:
    """A ResNet-50's diagnosis against three passes at the best batch size."""
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "resnet50.pt"
        torch.manual_seed(0)
        network = torchvision().models.resnet50().eval()
        torch.save(network.state_dict(), weights)
        spec, library = _of_pictures(f"resnet50@{weights}", Path(name)), Library(EVERYTHING, device=DEVICE)
        images = torch.randn(len(library.images(spec).test), 3, 224, 224, device=DEVICE)
        diagnose(spec, library)
        fresh = iter(range(500, 900))
        ours = seconds(lambda: diagnose(spec.replace(sparsity=next(fresh) / 1000), library))
        best = min(seconds(lambda batch=batch: _pass(network.to(DEVICE), images, batch)) for batch in (32, 64, 128))  # type: ignore[misc]
    return Row("ResNet-50, diagnosis / three best passes", 1.1, ours / (3 * best), note=f"{ours:.2f} s")


def _of_pictures(model: str, folder: Path) -> Spec:
    """150 + 150 real pictures where they are here, else random ones."""
    if PICTURES.is_dir():
        return Spec(model, str(PICTURES), calibration_images=150, evaluation_images=150)
    pixels = np.random.default_rng(0).integers(0, 256, (256, 224, 224, 3), dtype=np.uint8)
    np.savez(folder / "random.npz", test_images=pixels, train_images=pixels)
    return Spec(model, str(folder / "random.npz"), calibration_images=256, evaluation_images=256)


def _pass(network: nn.Module, images: Tensor, batch: int) -> None:
    with torch.inference_mode():
        for part in images.split(batch):
            network(part)


def _two_of_four() -> Iterator[Row]:
    """A matrix product with 2:4 zeros by PyTorch's sparse tensors against the dense one, in half precision."""
    if torch.cuda.get_device_capability() < (8, 0):
        print("this GPU has no sparse tensor cores")
        return
    from torch.sparse import to_sparse_semi_structured

    rows, columns = TWO_OF_FOUR
    dense = torch.randn(rows, columns, device=DEVICE, dtype=torch.float16)
    dense *= torch.tensor([0, 0, 1, 1], device=DEVICE, dtype=torch.bool).tile(rows, columns // 4)
    arriving = torch.randn(columns, 4096, device=DEVICE, dtype=torch.float16)
    sparse = to_sparse_semi_structured(dense)
    faster = seconds(lambda: dense @ arriving) / seconds(lambda: sparse @ arriving)
    yield Row("2:4 matrix product: dense / sparse", 1.3, faster, at_most=False, note=f"{rows} × {columns}")


def _sweep() -> Row:
    """The digits' sweep of 100 points on the GPU against the same on the CPU."""
    shared, times = Library(), {}
    for device in (DEVICE, "cpu"):
        library = Library(shared=shared, device=device)
        diagnose(Spec(sparsity=0.005), library)
        begun = time.perf_counter()
        for spec in along(Spec()):
            diagnose(spec, library)
        times[device] = time.perf_counter() - begun
    note = f"{times[DEVICE]:.0f} s / {times['cpu']:.0f} s"
    return Row("digits, 100-point sweep: GPU / CPU", 1.0, times[DEVICE] / times["cpu"], note=note)


BENCHMARKS = (gpu,)
