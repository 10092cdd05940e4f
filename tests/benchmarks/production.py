"""Before a release: the budget against uniform pruning, and how soon each page says something."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.control import doubt_of
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.diagnosis.point import Point, point
from reflow_core.machine import prepare
from reflow_core.production import sensitivity
from reflow_core.sources.access import EVERYTHING
from tests.benchmarks.core import Row
from tests.conftest import SHARED
from tests.e2e.browser import browser, server

SEEDS = 20
SPARSITIES = (0.7, 0.8, 0.85, 0.9, 0.95)
LOST = 0.10  # what uniform pruning with REFLOW has lost where the budget has to win
PAGES = ("sensitivity", "slices_and_gate", "structured_pruning", "quantization", "hardware", "claims_tested")
FIRST = "[data-testid=stMain] h4"


def budget() -> Iterator[Row]:
    """Points by which the budget beats uniform pruning after REFLOW, wherever uniform has lost ten or more."""
    bases = {"digits": Spec()}
    weights, images = SHARED / "weights" / "resnet20-12fca82f.th", SHARED / "data" / "cifar10_sample.npz"
    if weights.exists():
        model = f"resnet20-cifar10@{weights}"
        bases["CIFAR-10"] = Spec(model=model, data=str(images), evaluation_images=600)
    for name, base in bases.items():
        library = Library(EVERYTHING)
        layers = trace_of(base, library).layers
        found = sensitivity.profile(computed(sensitivity.alone(base, layers, sensitivity.CURVE), library), layers)
        for sparsity in SPARSITIES:
            rivals = sensitivity.rivals(base, sparsity, sensitivity.budget(found, sparsity))
            points = computed(list(rivals.values()), library)
            uniform = points[rivals["uniform"]]
            if uniform.score("dense") - uniform.score("repaired") < LOST:
                continue
            told = sensitivity.compared(base, sparsity, rivals, points)
            scores = told.tables["Allocations"].set_index("allocation")
            note = ", ".join(f"{each} {100 * scores.accuracy[each]:.1f}" for each in scores.index)
            gain = 100 * told.facts["gain_over_uniform"]
            row = f"{name} at {100 * sparsity:.0f} %, budget − uniform, points"
            yield Row(row, 3.0, gain, at_most=False, note=f"{note}; p = {scores.p_against_uniform['budget']:.1g}")


def computed(specs: list[Spec], library: Library) -> dict[Spec, Point]:
    """The points of specs, two at a time."""
    with ThreadPoolExecutor(2, initializer=prepare, initargs=(1,)) as workers:
        return dict(zip(specs, workers.map(lambda spec: point(diagnose(spec, library)), specs), strict=True))


def control() -> Iterator[Row]:
    """False alarms of the control over twenty seeds, on networks whose statistics and view are right."""
    prepare(1)
    library = Library(EVERYTHING)
    names = ("resnet20-digits", "mobilenet-digits", "resnext-digits", "vgg-digits")
    bases = [Spec(model=name, sparsity=0, repair="none") for name in names]
    weights, images = SHARED / "weights" / "resnet20-12fca82f.th", SHARED / "data" / "cifar10_sample.npz"
    if weights.exists():
        bases.append(Spec(f"resnet20-cifar10@{weights}", str(images), sparsity=0, repair="none", evaluation_images=600))
    for base in bases:
        diagnoses = [diagnose(base.replace(seed=seed), library) for seed in range(SEEDS)]
        changes = [100 * (each.control.score - each.dense.score) for each in diagnoses if each.control is not None]
        alarms = sum(doubt_of(each) is not None for each in diagnoses)
        note = f"control − dense {min(changes):+.1f} to {max(changes):+.1f} points"
        yield Row(f"control, false alarms of {SEEDS}: {base.model.partition('@')[0]}", 0.0, alarms, note=note)


def first() -> Iterator[Row]:
    """Seconds from opening a page of the default network, with nothing computed yet, to its first answer."""
    with tempfile.TemporaryDirectory() as cache, server(Path(cache)) as address, browser() as chromium:
        opened = chromium.new_page()
        opened.goto(address)
        opened.wait_for_selector(".scope .card")
        opened.close()
        for seed, name in enumerate(PAGES, 1):  # another seed each, so that no page finds another's results
            page = chromium.new_context().new_page()
            begun = time.monotonic()
            page.goto(f"{address}/{name}?seed={seed}")
            page.wait_for_selector(FIRST, timeout=120_000)
            yield Row(f"first answer of {name}, s", 10.0, time.monotonic() - begun, note="page load included")
            page.context.close()


def alone() -> Iterator[Row]:
    """Seconds of the default sensitivity command on digits, in a process of its own."""
    with tempfile.TemporaryDirectory() as cache:
        begun = time.monotonic()
        command = [sys.executable, "-m", "reflow_core", "sensitivity", "--share", "0.2", "--json"]
        subprocess.run(command, env=os.environ | {"REFLOW_CACHE": cache}, check=True, capture_output=True)
        yield Row("sensitivity of digits at 20 %, command line, s", 40.0, time.monotonic() - begun)


BENCHMARKS = (budget, control, first, alone)
