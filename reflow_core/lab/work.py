"""Who computes, and when: one answer from store or computation, one bounded pool, people before background."""

from __future__ import annotations

import atexit
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from reflow_core.diagnosis.diagnose import diagnose
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.lab.store import Store, key_of
from reflow_core.machine import cores, fingerprint, lowest_priority, prepare
from reflow_core.production.export import FORMATS, card, rebuild
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspect as make_finding
from reflow_core.production.inspections import inspections
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch, ignore

BEAT_S = 1.0
POLL_S = 0.05
CLOSE_S = 10.0
CLUSTER_S = 10  # how long a cluster may take to answer
MOST_WORKERS = 8  # of one sweep; each holds the activations of its own batch
QUIET_S = 3.0  # how long the background leaves the processor to a browser that draws what a person asked for


def answer(spec: Spec, library: Library, store: Store, watch: Watch = ignore) -> Diagnosis:
    """The stored diagnosis of a spec, else a new one, which is stored. Raises ReflowError and what `watch` does."""
    found: Diagnosis = _once(key_of(spec, library), store, lambda beat: diagnose(spec, library, beat), watch)
    return found


def inspect(
    name: str, spec: Spec, library: Library, store: Store, watch: Watch = ignore, again: bool = False
) -> Finding:
    """The stored finding of an inspection, else (or `again`) a new one. Raises ReflowError and what `watch` does."""
    key = asked_key(name, spec, library)
    if again:
        store.forget(key)
    found: Finding = _once(key, store, lambda beat: make_finding(name, spec, library, beat), watch)
    return found


def asked_key(name: str, spec: Spec, library: Library) -> str:
    """The store's key of an inspection; what is timed belongs to this machine. Raises ReflowError."""
    return key_of(spec, library, f"{name}|{fingerprint() if inspections[name].info.timed else ''}|")


def take(spec: Spec, kind: str, library: Library, store: Store, watch: Watch = ignore) -> bytes:
    """The network of a spec as a file of a kind of `export.FORMATS`, with its card. Raises ReflowError."""
    found = answer(spec, library, store, watch)
    made = rebuild(spec, library, watch)
    return FORMATS[kind][1](made, card(made, found))


def _once(key: str, store: Store, compute: Callable[[Watch], Any], watch: Watch) -> Any:
    """What the store has under a key, else what is computed; nothing is computed twice at a time.

    Another process that computes the same is waited for, as long as its heart beats.
    """
    while (found := store.get(key)) is None:
        if store.claim(key):
            try:
                found = store.get(key) or compute(_with_heartbeat(store, key, watch))
                store.put(key, found)
            finally:
                store.release(key)
            return found
        watch("wait for another process", 0, 1)
        time.sleep(POLL_S)
    return found


def solve(spec: Spec) -> Diagnosis:
    """`answer` for a process of its own, such as a cluster's worker.

    Library and store are opened once a process; the store is the one that REFLOW_CACHE names. Raises ReflowError.
    """
    return answer(spec, *_mine())


@functools.cache
def _mine() -> tuple[Library, Store]:
    prepare(1)
    return Library(EVERYTHING), Store()


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """A Dask cluster as an executor: "local" starts one on this machine's loopback, one process a core.

    Raises ReflowError without the package distributed, or where nothing answers.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ReflowError(
            "A cluster needs the package distributed; install it with 'pip install distributed'."
        ) from None
    try:
        local = LocalCluster(threads_per_worker=1, dashboard_address=None) if address == "local" else None
        client = Client(local or address, timeout=CLUSTER_S)
    except (OSError, ValueError) as error:
        raise ReflowError(f"No Dask cluster answers at {address!r} ({error}); start one or use 'local'.") from None
    try:
        yield client.get_executor()
    finally:
        client.close()
        if local is not None:
            local.close()


@contextmanager
def threads(library: Library, store: Store) -> Iterator[Callable[[Spec], Future[Diagnosis]]]:
    """Threads of this process to submit specs to, for as long as the body runs; the rest is then cancelled.

    A core each: two diagnoses side by side end sooner than one after the other on two cores.
    """
    stopped, workers = threading.Event(), min(cores(), MOST_WORKERS)

    def watch(stage: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise Cancelled

    with ThreadPoolExecutor(workers, initializer=prepare, initargs=(cores() // workers,)) as executor:
        try:
            yield lambda spec: executor.submit(answer, spec, library, store, watch)
        finally:
            stopped.set()
            executor.shutdown(wait=False, cancel_futures=True)


def _with_heartbeat(store: Store, key: str, watch: Watch) -> Watch:
    last = time.monotonic()

    def beat(stage: str, done: int, total: int) -> None:
        nonlocal last
        watch(stage, done, total)
        if time.monotonic() - last > BEAT_S:
            last = time.monotonic()
            store.beat(key)

    return beat


@dataclass(frozen=True, eq=False, slots=True)
class Home:
    """Where a spec's names are resolved, and where its results are kept."""

    library: Library
    store: Store


Work = Callable[[Library, Store, Watch], Any]


def asking(spec: Spec, inspection: str = "") -> Work:
    """The work of answering a spec, or of inspecting it where an inspection is named."""
    return functools.partial(inspect, inspection, spec) if inspection else functools.partial(answer, spec)


def taking(spec: Spec, kind: str) -> Work:
    """The work of making the file of a kind (see `export.FORMATS`) that holds the network of a spec: its bytes."""
    return functools.partial(take, spec, kind)


@dataclass(eq=False)
class Job:
    """One piece of work in the pool. `progress`: (stage, done, total) of the moment. `began`: when, if it has."""

    work: Work
    background: bool
    wanted: Callable[[], bool]
    home: Home
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

    def __init__(self, library: Library, store: Store, workers: int | None = None) -> None:
        self.home = Home(library, store)
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
        home: Home | None = None,
    ) -> Job:
        """Queue some work. `wanted`: asked at every batch; False cancels the job. `home`: another than the pool's."""
        job = Job(work, background, wanted, home or self.home)
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
            job.future.set_result(job.work(job.home.library, job.home.store, self._watch(job)))
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
