"""The pool of workers: people before background, first come, first served, every job stopped at its next batch."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from reflow_core.errors import Cancelled
from reflow_core.lab.request import Context
from reflow_core.machine import cores, lowest_priority, prepare
from reflow_core.watch import Watch

CLOSE_S = 10.0
QUIET_S = 3.0  # how long the background leaves the processor to a browser that draws what a person asked for
Work = Callable[[Context, Watch], Any]


@dataclass(eq=False)
class Job:
    """One piece of work in the pool. `progress`: (stage, done, total) of the moment. `began`: when, if it has."""

    work: Work
    background: bool
    wanted: Callable[[], bool]
    context: Context
    future: Future[Any] = field(default_factory=Future)
    progress: tuple[str, int, int] = ("load", 0, 1)
    began: float | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """Stop at the next batch; the future then raises Cancelled."""
        self.cancelled = True


class _StepAside(Exception):
    """A background job makes room for a person and will be done anew."""


class Pool:
    """Daemon threads that compute: `workers` for people, and one of lowest priority that works while no one waits."""

    def __init__(self, context: Context, workers: int | None = None) -> None:
        self.context = context
        workers = workers or max(1, cores() // 2)  # two cores a person, whose one answer is to come soon
        self._threads_each = max(1, cores() // workers)
        self._queues: dict[bool, deque[Job]] = {True: deque(), False: deque()}
        self._changed = threading.Condition()
        self._people = 0
        self._quiet_until = 0.0
        self._closed = False
        lanes = [*(False for _ in range(workers)), True]
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name="reflow", daemon=True) for lane in lanes
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def submit(
        self,
        work: Work,
        background: bool = False,
        wanted: Callable[[], bool] = lambda: True,
        context: Context | None = None,
    ) -> Job:
        """Queue some work. `wanted`: asked at every batch; False cancels it. `context`: another than the pool's."""
        job = Job(work, background, wanted, context or self.context)
        with self._changed:
            self._people += not background
            self._queues[background].append(job)
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """How many wait before a job that waits."""
        with self._changed:
            queue = self._queues[job.background]
            return queue.index(job) if job in queue else 0

    def attend(self) -> None:
        """A person is at work: the background keeps still for a moment."""
        self._quiet_until = time.monotonic() + QUIET_S

    def close(self) -> None:
        """Stop every job at its next batch and end the threads; what is stored stays."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSE_S)
        atexit.unregister(self.close)

    def _work(self, background: bool) -> None:
        prepare(self._threads_each)
        if background:
            lowest_priority()
        while (job := self._take(background)) is not None:
            self._run(job)

    def _take(self, background: bool) -> Job | None:
        queue = self._queues[background]
        with self._changed:
            while not self._closed and (not queue or (background and self._people_first())):
                self._changed.wait(self._still() or None)
            return None if self._closed else queue.popleft()

    def _people_first(self) -> bool:
        return self._people > 0 or self._still() > 0

    def _still(self) -> float:
        return max(0.0, self._quiet_until - time.monotonic())

    def _run(self, job: Job) -> None:
        again, job.began = False, time.monotonic()
        try:
            job.future.set_result(job.work(job.context, self._watch(job)))
        except _StepAside:
            again = True
        except Exception as error:  # whatever happened belongs to whoever asked; the worker lives on
            job.future.set_exception(error)
        with self._changed:
            self._people -= not job.background
            if again:
                self._queues[True].appendleft(job)
            self._changed.notify_all()

    def _watch(self, job: Job) -> Watch:
        def watch(stage: str, done: int, total: int) -> None:
            job.progress = (stage, done, total)
            if self._closed or job.cancelled or not job.wanted():
                raise Cancelled("nobody wants it any more")
            if job.background and self._people_first():
                raise _StepAside

        return watch
