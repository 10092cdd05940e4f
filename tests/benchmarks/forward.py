"""What one diagnosis costs against an earlier version of this lab, network by network, and what memory it takes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.before import before
from tests.benchmarks.core import SHARED, Row
from tests.benchmarks.one_diagnosis import SWEEP
from tests.e2e.browser import ROOT

ONE = Path(__file__).with_name("one_diagnosis.py")
PICTURES = SHARED / "data" / "imagenet_sample"
# name: (images of each kind, bound with the control, which the earlier version did not compute, left out)
NETWORKS = {
    "mobilenet_v2": (128, 0.55),
    "resnet50": (128, 0.8),
    "efficientnet-lite0": (128, 0.65),
    "resnet20-digits": (700, 0.9),
    "mobilenet-digits": (700, 1.0),
    "resnext-digits": (700, 1.0),
    "vgg-digits": (700, 1.0),
    "convnext-digits": (700, 1.0),
}
ROUNDS = 3
GB = 10**9


def forward() -> Iterator[Row]:
    """A diagnosis of each network, dense unknown, in turn with the earlier version's, each in a process of its own."""
    with before() as place, tempfile.TemporaryDirectory() as folder:
        for name, (images, bound) in NETWORKS.items():
            if place is None or (images == 128 and not PICTURES.is_dir()):
                continue
            times: tuple[list[float], list[float], list[float]] = ([], [], [])
            for _ in range(ROUNDS):
                then, now = (_told(root, name, images, folder) for root in (place, ROOT))
                for kept, seconds in zip(times, (then["all"], now["all"] - now["control"], now["all"]), strict=True):
                    kept.append(seconds)
            earlier, plain, whole = (statistics.median(kept) for kept in times)
            note = f"{plain:.1f} s / {earlier:.1f} s; with the control, since added: {whole / earlier:.2f}"
            yield Row(f"{name}, {images} images: diagnosis / before", bound, plain / earlier, note=note)


def default_sweep() -> Iterator[Row]:
    """The 100 points of the default view, one after the other, in turn with the earlier version's."""
    with before() as place, tempfile.TemporaryDirectory() as folder:
        if place is None:
            return
        both = [[_told(root, SWEEP, 700, folder)["all"] for root in (place, ROOT)] for _ in range(ROUNDS)]
        earlier, now = (statistics.median(times) for times in zip(*both, strict=True))
        yield Row("sweep of 100 points, digits / before", 0.85, now / earlier, note=f"{now:.0f} s / {earlier:.0f} s")


def memory() -> Iterator[Row]:
    """The peak of a process that diagnoses EfficientNet-Lite0 with 256 calibration images, and its time for that."""
    if not PICTURES.is_dir():
        return
    with before() as place, tempfile.TemporaryDirectory() as folder:
        now = _told(ROOT, "efficientnet-lite0", 256, folder)
        yield Row("EfficientNet-Lite0, 256 images: peak in GB", 3.0, now["peak"] / GB, note=f"{now['all']:.0f} s")
        if place is not None:
            then = _told(place, "efficientnet-lite0", 256, folder)
            note = f"peak before {then['peak'] / GB:.1f} GB"
            yield Row("its population pass / before", 1.15, now["calibrate"] / then["calibrate"], note=note)


def _told(root: Path, name: str, images: int, folder: str) -> dict[str, float]:
    """Seconds by stage and in all, and the peak in bytes, of one diagnosis by the code under `root`."""
    command = [sys.executable, ONE, name, str(images), folder]
    environment = {**os.environ, "PYTHONPATH": str(root), "REFLOW_CACHE": f"{folder}/cache"}
    told = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    if told.returncode:
        raise RuntimeError(told.stderr[-2000:])
    figures: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return figures


BENCHMARKS = (forward, default_sweep, memory)
