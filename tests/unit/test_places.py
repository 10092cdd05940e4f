"""How many workers work takes, and on how many cores each computes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from reflow_core import Library
from reflow_core.lab.pool import LIGHT, TIMED, Pool
from reflow_core.lab.request import Context
from reflow_core.lab.store import Store
from reflow_core.watch import Watch
from tests.waiting import until

ANN, BOB, EVE = ("1", "ann"), ("2", "bob"), ("3", "eve")
ENOUGH_S = 20.0


class Steps:
    """A work that notes on how many threads each of its steps computes; each waits until it is let go."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self._go = threading.Semaphore(0)

    def __call__(self, context: Context, watch: Watch) -> None:
        for number in range(2):
            watch("batch", number, 2)
            self.threads.append(torch.get_num_threads())
            assert self._go.acquire(timeout=ENOUGH_S)

    def step(self, count: int = 1) -> None:
        self._go.release(count)


@pytest.fixture
def pool(tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A worker a core of two."""
    monkeypatch.setattr("reflow_core.lab.pool.cores", lambda: 2)
    monkeypatch.setattr("reflow_core.lab.pool.CLOSE_S", 0.1)
    before = torch.get_num_threads()
    opened = Pool(Context(library, Store(tmp_path)))
    yield opened
    opened.close()
    torch.set_num_threads(before)


def test_who_computes_alone_has_all_cores_and_several_have_one_each(pool: Pool) -> None:
    one, other = Steps(), Steps()
    first = pool.submit(one, visitor=ANN)
    assert until(lambda: one.threads == [2])
    second = pool.submit(other, visitor=BOB)
    assert until(lambda: other.threads == [1])
    one.step()
    assert until(lambda: one.threads == [2, 1]), "from its next batch on"
    one.step()
    first.future.result(ENOUGH_S)
    other.step()
    assert until(lambda: other.threads == [1, 2])
    other.step()
    second.future.result(ENOUGH_S)


def test_what_measures_seconds_has_the_machine_to_itself(pool: Pool) -> None:
    one, timed, other = Steps(), Steps(), Steps()
    first = pool.submit(one, visitor=ANN)
    assert until(lambda: len(one.threads) == 1)
    timing = pool.submit(timed, visitor=BOB, places=TIMED)
    last = pool.submit(other, visitor=EVE)
    one.step(2)
    first.future.result(ENOUGH_S)
    assert until(lambda: timed.threads == [2])
    assert not other.threads, "though it comes first that would fit"
    timed.step(2)
    timing.future.result(ENOUGH_S)
    other.step(2)
    last.future.result(ENOUGH_S)


def test_who_reads_a_file_waits_for_nobody_who_computes(pool: Pool) -> None:
    """An upload took a turn to be read and another to be answered."""
    busy = [Steps() for _ in range(3)]
    jobs = [pool.submit(work, visitor=(str(place), "one")) for place, work in enumerate(busy)]
    assert until(lambda: sum(len(work.threads) for work in busy) == 2)
    read: list[Any] = []
    pool.submit(lambda context, watch: read.append(watch("read", 0, 1)), visitor=EVE, places=LIGHT).future.result(5)
    assert read and not all(job.begun for job in jobs)
    for work in busy:
        work.step(2)
    for job in jobs:
        job.future.result(ENOUGH_S)
