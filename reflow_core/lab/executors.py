"""Many specs at once without a page: on threads of this process, which compute themselves or have a cluster compute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import Cancelled
from reflow_core.lab.request import Answer, Compute, Context, Request
from reflow_core.machine import cores, prepare
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch

MOST_WORKERS = 8  # of one sweep; each holds the activations of its own batch


@contextmanager
def threads(context: Context, workers: int | None = None) -> Iterator[Callable[[Spec], Future[Diagnosis]]]:
    """Threads of this process to submit specs to, for as long as the body runs; the rest is then cancelled.

    `workers`: how many; None for a core each: two diagnoses side by side end sooner than one after the other on two
    cores.
    """
    stopped, many = threading.Event(), workers or most_here()

    def watch(stage: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise Cancelled

    with ThreadPoolExecutor(many, initializer=prepare, initargs=(max(1, cores() // many),)) as executor:
        try:
            yield lambda spec: executor.submit(Request(spec).answer, context, watch)
        finally:
            stopped.set()
            executor.shutdown(wait=False, cancel_futures=True)


def most_here() -> int:
    """How many specs this machine computes at once."""
    return min(cores(), MOST_WORKERS)


def few_at_once() -> Compute:
    """Computes here, but no more at once than this machine should: what a lost cluster leaves comes in a crowd."""
    places = threading.Semaphore(most_here())

    def compute(request: Request, library: Library, watch: Watch) -> Answer:
        with places:
            return request.compute(library, watch)

    return compute
