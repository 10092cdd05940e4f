"""Many specs at once without a page: threads of this process, or a Dask cluster."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.lab.request import Context, Request
from reflow_core.lab.store import Store
from reflow_core.machine import cores, prepare
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

CLUSTER_S = 10  # how long a cluster may take to answer
MOST_WORKERS = 8  # of one sweep; each holds the activations of its own batch


def solve(spec: Spec) -> Diagnosis:
    """The diagnosis of a spec, in a process of its own, such as a cluster's worker.

    Library and store are opened once a process; the store is the one that REFLOW_CACHE names. Raises ReflowError.
    """
    diagnosis: Diagnosis = Request(spec).answer(_own_context())
    return diagnosis


@functools.cache
def _own_context() -> Context:
    prepare(1)
    return Context(Library(EVERYTHING), Store())


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
        raise ReflowError(f"No Dask cluster responds at {address!r} ({error}); start one or use 'local'.") from None
    try:
        yield client.get_executor()
    finally:
        client.close()
        if local is not None:
            local.close()


@contextmanager
def threads(context: Context) -> Iterator[Callable[[Spec], Future[Diagnosis]]]:
    """Threads of this process to submit specs to, for as long as the body runs; the rest is then cancelled.

    A core each: two diagnoses side by side end sooner than one after the other on two cores.
    """
    stopped, workers = threading.Event(), min(cores(), MOST_WORKERS)

    def watch(stage: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise Cancelled

    with ThreadPoolExecutor(workers, initializer=prepare, initargs=(cores() // workers,)) as executor:
        try:
            yield lambda spec: executor.submit(Request(spec).answer, context, watch)
        finally:
            stopped.set()
            executor.shutdown(wait=False, cancel_futures=True)
