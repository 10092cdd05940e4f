"""Many specs at once: where they are computed, how far they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import contextmanager

from tqdm import tqdm

from reflow_core.cli.options import open_store
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.lab.study import Point, point
from reflow_core.lab.work import cluster, solve, threads
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import Spec


def points(specs: Iterable[Spec], options: argparse.Namespace) -> dict[Spec, Point]:
    """What a study keeps of each spec's diagnosis, with a bar on stderr. Raises ReflowError."""
    wanted = list(dict.fromkeys(specs))
    with executor(options) as submit, tqdm(total=len(wanted), unit="spec", file=sys.stderr) as bar:
        futures = {submit(spec): spec for spec in wanted}
        found: dict[Spec, Point] = {}
        for done in as_completed(futures):
            found[futures[done]] = point(done.result())
            bar.update()
    return {spec: found[spec] for spec in wanted}


@contextmanager
def executor(options: argparse.Namespace) -> Iterator[Callable[[Spec], Future[Diagnosis]]]:
    """Where the specs are computed: threads of this process sized to the machine, or a Dask cluster."""
    if getattr(options, "cluster", None) is not None:
        with cluster(options.cluster) as executor:
            yield lambda spec: executor.submit(solve, spec)
        return
    with open_store() as store, threads(Library(EVERYTHING, device=options.device), store) as submit:
        yield submit
