"""Timings of this machine: contenders take turns, so that what disturbs one disturbs all."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reflow_core.watch import Watch, ignore

WARM_UP = 2
LEAST = 7  # rounds
MOST_S = 0.15  # of a race, a contender
BATCHES = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: median and 95 % quantile over `rounds`."""

    median: float
    p95: float
    rounds: int


def race(
    contenders: Mapping[str, Callable[[], object]], watch: Watch = ignore, most: float | None = None
) -> dict[str, Timing]:
    """Time each contender after a warm-up, in turns of random order: LEAST rounds at least, `most` (MOST_S) seconds.

    On an accelerator a contender has to wait for its own result.
    """
    with torch.inference_mode():
        for run in contenders.values():
            for _ in range(WARM_UP):
                run()
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    until = time.monotonic() + (MOST_S if most is None else most) * len(contenders)
    rounds, order = 0, random.Random(0)  # whoever follows whom, each as often
    with torch.inference_mode():
        while rounds < LEAST or time.monotonic() < until:
            watch("timing", min(rounds, LEAST), LEAST)
            for name, run in sorted(contenders.items(), key=lambda one: order.random()):
                begun = time.perf_counter()
                run()
                spent[name].append(time.perf_counter() - begun)
            rounds += 1
    return {
        name: Timing(float(np.median(seconds)), float(np.quantile(seconds, 0.95)), len(seconds))
        for name, seconds in spent.items()
    }


def passes(runs: Mapping[str, Callable[[Tensor], object]], images: Tensor, watch: Watch = ignore) -> pd.DataFrame:
    """Milliseconds of a pass over each of BATCHES images, a row a batch and network, taking turns.

    `images` (N, 3, H, W) are repeated where a batch has more.
    """
    rows = []
    for batch in BATCHES:
        some = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch]
        timed = race({name: functools.partial(run, some) for name, run in runs.items()}, watch)
        rows += [
            {"batch": batch, "network": name, "median_ms": 1e3 * each.median, "p95_ms": 1e3 * each.p95}
            | {"rounds": each.rounds}
            for name, each in timed.items()
        ]
    return pd.DataFrame(rows)
