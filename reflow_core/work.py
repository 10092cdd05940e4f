"""Who computes, and when: one answer from store or computation, one bounded pool, people before background."""

from __future__ import annotations

import atexit
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from reflow_core.diagnose import diagnose
from reflow_core.errors import Cancelled
from reflow_core.library import Library
from reflow_core.machine import prepare
from reflow_core.result import Diagnosis
from reflow_core.spec import Spec
from reflow_core.store import Store, key_of
from reflow_core.watch import Watch, ignore

BEAT_S = 1.0
POLL_S = 0.05
CLOSE_S = 10.0
PERSON, BACKGROUND = 0, 1


def answer(spec: Spec, library: Library, store: Store, watch: Watch = ignore) -> Diagnosis:
    """The stored diagnosis of a spec, else a computed one, which is stored; no spec is computed twice at a time.

    Another process that computes the same spec is waited for, as long as its heart beats. Raises ReflowError and
    whatever `watch` raises.
    """
    key = key_of(spec, library)
    while (found := store.get(key)) is None:
        if store.claim(key):
            try:
                found = store.get(key) or diagnose(spec, library, _with_heartbeat(store, key, watch))
                store.put(key, found)
            finally:
                store.release(key)
            return found
        watch("wait for another process", 0, 1)
        time.sleep(POLL_S)
    return found


def _with_heartbeat(store: Store, key: str, watch: Watch) -> Watch:
    last = time.monotonic()

    def beat(stage: str, done: int, total: int) -> None:
        nonlocal last
        watch(stage, done, total)
        if time.monotonic() - last > BEAT_S:
            last = time.monotonic()
            store.beat(key)

    return beat


@dataclass(order=True)
class Job:
    """One spec in the pool. `progress`: (stage, done, total) of the moment. Ordered by rank, then by arrival."""

    rank: int
    number: int
    spec: Spec = field(compare=False)
    wanted: Callable[[], bool] = field(compare=False)
    future: Future[Diagnosis] = field(compare=False, default_factory=Future)
    progress: tuple[str, int, int] = field(compare=False, default=("queued", 0, 1))
    cancelled: bool = field(compare=False, default=False)

    def cancel(self) -> None:
        """Stop at the next batch; the future then raises Cancelled."""
        self.cancelled = True


class _Yield(Exception):
    """A background job steps aside for a person and will be done anew."""


class Pool:
    """A bounded pool of daemon threads: people first; background jobs run one at a time, and step aside."""

    def __init__(self, library: Library, store: Store, workers: int | None = None) -> None:
        self.library, self.store = library, store
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._workers = workers or max(1, cores // 2)
        self._threads_each = max(1, cores // self._workers)
        self._queue: list[Job] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._people = 0
        self._background_running = False
        self._closed = False
        names = [f"reflow-{number}" for number in range(self._workers)]
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def submit(self, spec: Spec, rank: int = PERSON, wanted: Callable[[], bool] = lambda: True) -> Job:
        """Queue a spec. `wanted`: asked at every batch; False cancels the job."""
        with self._changed:
            job = Job(rank, next(self._numbers), spec, wanted)
            self._people += rank == PERSON
            heapq.heappush(self._queue, job)
            self._changed.notify_all()
        return job

    def _work(self) -> None:
        prepare(self._threads_each)
        while (job := self._take()) is not None:
            self._run(job)

    def close(self) -> None:
        """Stop every job at its next batch and end the threads; what is stored stays."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSE_S)
        atexit.unregister(self.close)

    def _take(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready())
            if self._closed:
                return None
            job = heapq.heappop(self._queue)
            self._background_running |= job.rank == BACKGROUND
            return job

    def _ready(self) -> bool:
        if not self._queue:
            return False
        return self._queue[0].rank == PERSON or not (self._people or self._background_running)

    def _run(self, job: Job) -> None:
        again = False
        try:
            job.future.set_result(answer(job.spec, self.library, self.store, self._watch(job)))
        except _Yield:
            again = True
        except Exception as error:  # whatever happened belongs to whoever asked; the worker lives on
            job.future.set_exception(error)
        with self._changed:
            self._people -= job.rank == PERSON
            self._background_running &= job.rank != BACKGROUND
            if again:
                heapq.heappush(self._queue, job)
            self._changed.notify_all()

    def _watch(self, job: Job) -> Watch:
        def watch(stage: str, done: int, total: int) -> None:
            job.progress = (stage, done, total)
            if self._closed or job.cancelled or not job.wanted():
                raise Cancelled(job.spec.canonical())
            if job.rank == BACKGROUND and self._people:
                raise _Yield

        return watch
