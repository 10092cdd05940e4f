"""A network at the upper end, ResNeXt-101 at 224x224 with random weights, in a process of its own."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from reflow_core import Library, Spec, diagnose
from reflow_core.machine import prepare
from reflow_core.networks.checkpoint import weights_folder
from reflow_core.networks.zoo import zoo
from reflow_core.sources.access import EVERYTHING
from tests.benchmarks.core import Row

NAME = "resnext101_32x8d"
IMAGES = 32
SPARSITIES = (0.5, 0.7, 0.8)


def resnext() -> Iterator[Row]:
    """Seconds against the bare passes, memory against the weights, and how long it may go without asking to go on."""
    told = subprocess.run([sys.executable, "-m", "tests.benchmarks.large"], capture_output=True, text=True, check=True)
    time_ratio, memory_ratio, silence, seconds = (float(part) for part in told.stdout.split())
    note = f"{IMAGES} + {IMAGES} images, {seconds:.0f} s"
    yield Row("ResNeXt-101, diagnose / three bare passes", 1.15, time_ratio, note=note)
    yield Row(
        "peak memory above a batch's activations / weights", 2.5, memory_ratio, note=f"{len(SPARSITIES)} in a row"
    )
    yield Row("longest silence between two chances to cancel, s", 2.0, silence)


def _measure(folder: Path) -> None:
    prepare()
    info = zoo()[NAME]
    weights_folder().mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(info.build(1000).state_dict(), weights_folder() / info.download.filename)  # type: ignore[union-attr]
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 256, 256, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", test_images=pixels, train_images=pixels)
    library = Library(EVERYTHING)
    spec = Spec(NAME, str(folder / "images.npz"), evaluation_images=IMAGES, calibration_images=IMAGES)
    network = library.network(NAME).module
    weights = sum(tensor.nbytes for tensor in network.parameters())
    inputs = torch.randn(IMAGES, 3, 224, 224)
    before = _reset()
    with torch.inference_mode():
        network(inputs)
    activations = _peak() - before
    base = _reset() - weights  # what the process holds without the network
    silences, last = [], time.monotonic()

    def watch(stage: str, done: int, total: int) -> None:
        nonlocal last
        silences.append(time.monotonic() - last)
        last = time.monotonic()

    ours, bare = [], []
    diagnose(spec.replace(sparsity=0.6), library, watch)  # the dense answers, once
    for sparsity in SPARSITIES:
        start = last = time.monotonic()
        diagnose(spec.replace(sparsity=sparsity), library, watch)
        ours.append(time.monotonic() - start)
    memory = (_peak() - base - activations) / weights
    for _ in SPARSITIES:
        start = time.monotonic()
        with torch.inference_mode():
            for _ in range(3):
                network(inputs)
        bare.append(time.monotonic() - start)
    ratio = statistics.median(ours) / statistics.median(bare)
    print(ratio, memory, max(silences), statistics.median(ours))


def _reset() -> int:
    """Forget the peak of this process; returns the bytes it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


BENCHMARKS = (resnext,)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        os.environ["TORCH_HOME"] = name
        _measure(Path(name))
