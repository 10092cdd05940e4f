"""What a second worker of a cluster gives: a sweep of the dashboard on one and on two, each of one thread."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from reflow_core import Library, Spec
from reflow_core.lab.cluster import Cluster
from reflow_core.lab.pool import Pool
from reflow_core.lab.request import Context, Request
from reflow_core.lab.store import Store
from reflow_core.lab.sweep import Sweep, along, pack
from reflow_core.machine import cores
from tests.benchmarks.core import Row
from tests.dask_processes import processes
from tests.waiting import until

POINTS = 40
TRIES = 3


def on_cluster() -> Iterator[Row]:
    """Workers without a common disk, warm: they have the content and have imported torch. Before, there were none."""
    if importlib.util.find_spec("distributed") is None or cores() < 2:
        print("no package distributed, or one core only: the cluster benchmark skipped")
        return
    library, tries = Library(), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with _lab(place / "one", 1, library) as one, _lab(place / "two", 2, library) as two:
            for seed in range(TRIES + 1):
                tries.append((one.seconds(seed), two.seconds(seed)))
    first, second = (statistics.median(times) for times in zip(*tries[1:], strict=True))
    note = f"{first:.1f} s / {second:.1f} s"
    yield Row(f"sweep of {POINTS} points, one worker / two", 1.7, first / second, at_most=False, note=note)


class _lab:
    """A pool with a cluster of so many workers, as the dashboard has it."""

    def __init__(self, folder: Path, workers: int, library: Library) -> None:
        folder.mkdir()
        self._workers, self._processes = workers, processes(folder, workers)
        self._context = Context(library, Store(folder))
        self._pool = Pool(self._context)

    def __enter__(self) -> _lab:
        self._cluster = Cluster(self._processes.__enter__().address, self._pool.compute_elsewhere).__enter__()
        self._context = Context(self._context.library, self._context.store, self._cluster.compute)
        until(lambda: self._cluster.workers == self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
        self._cluster.close()
        self._processes.__exit__(None, None, None)

    def seconds(self, seed: int) -> float:
        """Of a sweep of its own."""
        specs = along(Spec(seed=seed), [number / POINTS for number in range(POINTS)])
        start = time.perf_counter()
        sweep = Sweep([Request(spec) for spec in specs], self._pool, pack, self._context)
        until(lambda: sweep.look() == 1.0, every=0.05)
        assert not sweep.problems and self._cluster.problem is None
        return time.perf_counter() - start


BENCHMARKS = (on_cluster,)
