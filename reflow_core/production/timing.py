"""Timings of this machine: contenders take turns, so that what disturbs one disturbs all."""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reflow_core.numbers import decimal
from reflow_core.production.finding import Finding
from reflow_core.watch import Watch, ignore

WARM_UP = 2
LEAST = 7  # rounds
FEWEST, SLOW_S = 2, 3.0  # rounds where a race has taken so long already
MOST_S = 0.15  # of a race, a contender
PAUSE_S = 0.05  # a watch that takes longer has let others compute, who leave the caches cold
BATCHES = (1, 8, 64)
BUSY = 0.15  # threads that wait for a core, on average, above which a timing is disturbed by other work


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: median and 95 % quantile over `rounds`.

    `waiting`: cores' worth of threads that meanwhile wanted to run and could not, for others had the cores.
    """

    median: float
    p95: float
    rounds: int
    waiting: float = 0.0


def waited() -> float:
    """Seconds that this process's threads have waited for a core so far; 0 where no Linux says so."""
    total = 0
    for schedule in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # a thread may end at any time
            total += int(schedule.read_text().split()[1])
    return total / 1e9


class Clock:
    """Seconds since it was made, without those that others had in pauses: a measurement is never cut, only put off."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._began

    def watched(self, watch: Watch, *state: Any) -> bool:
        """Call `watch(*state)` between two measurements; whether it paused, so that the next one has to warm up."""
        before = time.monotonic()
        watch(*state)
        lost = time.monotonic() - before
        self._began += lost
        return lost > PAUSE_S


def race(
    contenders: Mapping[str, Callable[[], object]], watch: Watch = ignore, most: float | None = None
) -> dict[str, Timing]:
    """Time each contender after a warm-up, in turns of random order: LEAST rounds at least, `most` (MOST_S) seconds.

    Where that takes long, as of a large network, fewer rounds do: FEWEST after SLOW_S seconds. On an accelerator a
    contender has to wait for its own result.
    """
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    order, rounds, clock = random.Random(0), 0, Clock()  # whoever follows whom, each as often

    def turn(warm: bool) -> None:
        for name, run in sorted(contenders.items(), key=lambda contender: order.random()):
            if clock.watched(watch, "timing", min(rounds, LEAST), LEAST):
                run()
            begun = time.perf_counter()
            run()
            if not warm:
                spent[name].append(time.perf_counter() - begun)

    with torch.inference_mode():
        for _ in range(WARM_UP):
            if clock.seconds < SLOW_S:
                turn(warm=True)
        clock, enough = Clock(), (MOST_S if most is None else most) * len(contenders)
        begun, before = time.monotonic(), waited()
        while clock.seconds < enough or rounds < (LEAST if clock.seconds < SLOW_S else FEWEST):
            turn(warm=False)
            rounds += 1
    waiting = max(0.0, waited() - before) / max(time.monotonic() - begun, 1e-9)
    return {
        name: Timing(float(np.median(seconds)), float(np.quantile(seconds, 0.95)), len(seconds), waiting)
        for name, seconds in spent.items()
    }


def disturbed(finding: Finding) -> str:
    """A sentence about timings that were taken while other work ran, "" where none ran."""
    waiting = finding.facts.get("waiting", 0.0)
    if waiting <= BUSY:
        return ""
    return (
        f"Timed while other work ran on this machine (on average {decimal(waiting, 1)} threads waited for a "
        "core); times and ratios may be off."
    )


def repeated(images: Tensor, count: int) -> Tensor:
    """`count` images, the same ones again where there are fewer."""
    return images.repeat(-(-count // len(images)), 1, 1, 1)[:count]


def passes(runs: Mapping[str, Callable[[Tensor], object]], images: Tensor, watch: Watch = ignore) -> pd.DataFrame:
    """Milliseconds of a pass over each of BATCHES images, a row a batch and network, taking turns.

    `images` (N, 3, H, W) are repeated where a batch has more.
    """
    rows = []
    for batch in BATCHES:
        inputs = repeated(images, batch)
        timed = race({name: functools.partial(run, inputs) for name, run in runs.items()}, watch)
        rows += [
            {"batch": batch, "network": name, "median_ms": 1e3 * timing.median, "p95_ms": 1e3 * timing.p95}
            | {"rounds": timing.rounds, "waiting": timing.waiting}
            for name, timing in timed.items()
        ]
    return pd.DataFrame(rows)
