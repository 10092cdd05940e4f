"""Where commands compute: one request after another, or many specs at once, with a progress bar on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from reflow_core.cli.options import open_store
from reflow_core.cli.printing import print_plain
from reflow_core.diagnosis.point import Point, point
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.lab.cluster import Cluster
from reflow_core.lab.executors import few_at_once, threads
from reflow_core.lab.request import Context, Request
from reflow_core.machine import prepare
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

AHEAD = 1  # specs that a cluster has beyond those that it computes, so that no worker waits for the next


@contextmanager
def context_of(options: argparse.Namespace) -> Iterator[Context]:
    """A context whose library opens everything on this machine, with the store."""
    prepare()
    with open_store() as store:
        yield Context(Library(EVERYTHING, device=options.device), store)


def answer(request: Request, options: argparse.Namespace) -> Any:
    """The answer to a request. Raises ReflowError."""
    with context_of(options) as context:
        return request.answer(context, again=getattr(options, "again", False))


def answers(requests: Sequence[Request], options: argparse.Namespace, unit: str = "request") -> list[Any]:
    """The answers to several requests, in order; what they share is loaded only once. Raises ReflowError."""
    again = getattr(options, "again", False)
    with context_of(options) as context:
        return [request.answer(context, again=again) for request in tqdm(requests, unit=unit, file=sys.stderr)]


def points(specs: Iterable[Spec], options: argparse.Namespace) -> dict[Spec, Point]:
    """The point of each spec's diagnosis, with a progress bar on stderr. Raises ReflowError."""
    distinct = list(dict.fromkeys(specs))
    with executor(options) as submit, tqdm(total=len(distinct), unit="spec", file=sys.stderr) as bar:
        futures = {submit(spec): spec for spec in distinct}
        computed: dict[Spec, Point] = {}
        for done in as_completed(futures):
            computed[futures[done]] = point(done.result())
            bar.update()
    return {spec: computed[spec] for spec in distinct}


@contextmanager
def executor(options: argparse.Namespace) -> Iterator[Callable[[Spec], Future[Diagnosis]]]:
    """A function that computes a spec: on threads of this process, sized to the machine, or on a Dask cluster."""
    address = getattr(options, "cluster", None)
    with open_store() as store:
        if address is None:
            with threads(Context(Library(EVERYTHING, device=options.device), store)) as submit:
                yield submit
            return
        with Cluster(address, here=few_at_once()) as cluster:
            context = Context(Library(EVERYTHING), store, cluster.compute)
            with threads(context, cluster.workers + AHEAD) as submit:
                yield submit
            if cluster.problem:
                print_plain(f"note: {cluster.problem}", sys.stderr)
