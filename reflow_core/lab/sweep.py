"""Sweeps: many requests, computed in the background; one of them packed for drawing while a slider moves."""

from __future__ import annotations

import copy
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.shown_classes import shown_classes
from reflow_core.diagnosis.verdict import verdict
from reflow_core.errors import ReflowError
from reflow_core.lab.pool import Pool
from reflow_core.lab.request import Context, Request
from reflow_core.lab.turns import NOBODY, Job, Visitor
from reflow_core.signal.similarity import finite
from reflow_core.spec import Spec

T = TypeVar("T")
SCRUB = tuple(percent / 100 for percent in range(100))
ABANDONED_S = 5.0


def coarse_first(values: Sequence[float]) -> list[float]:
    """The same values, ordered so that every prefix covers the range evenly (binary subdivision)."""
    order: list[int] = []
    step = 1 << max(len(values) - 1, 1).bit_length()
    seen: set[int] = set()
    while step:
        fresh = [index for index in range(0, len(values), step) if index not in seen]
        order += fresh
        seen.update(fresh)
        step //= 2
    return [values[index] for index in order]


def along(spec: Spec, sparsities: Iterable[float] = SCRUB) -> list[Spec]:
    """The spec at each sparsity."""
    return [spec.replace(sparsity=sparsity) for sparsity in sparsities]


def pack(diagnosis: Diagnosis) -> dict[str, Any]:
    """One point of a sweep, small enough to send a hundred of: what the scrub panels draw, rounded to 4 digits."""
    judged = verdict(diagnosis)
    unrepaired = {variant: diagnosis.predictions[variant] for variant in ("dense", "pruned")}
    before = verdict(dataclasses.replace(diagnosis, predictions=unrepaired))
    outcomes, layers = diagnosis.outcomes(), diagnosis.layers
    shown = shown_classes(outcomes.values())
    return {
        "sparsity": diagnosis.spec.sparsity,
        "status": judged.status,
        "headline": judged.headline,
        "before": {"status": before.status, "headline": before.headline},
        "evidence": list(judged.evidence),
        "score": {name: outcome.score for name, outcome in outcomes.items()},
        "ci": {name: list(outcome.ci95) for name, outcome in outcomes.items() if outcome.ci95},
        "bars": shown.names(diagnosis.classes),
        "rest": shown.rest,
        "histogram": {name: shown.counts(outcome) for name, outcome in outcomes.items()},
        "effective": {name: _round(outcome.effective_classes) for name, outcome in outcomes.items()},
        "entropy": {name: _round(outcome.entropy) for name, outcome in outcomes.items()},
        "never": {name: len(outcome.never) for name, outcome in outcomes.items()},
        "ratio": {
            variant: [_round(layer.variance_ratio(variant)) for layer in layers] for variant in ("pruned", "repaired")
        },
    }


def _round(value: float | None) -> float | None:
    return None if (value := finite(value)) is None else float(f"{value:.4g}")


class Sweep(Generic[T]):
    """Many requests in the pool's background. It goes on only while somebody looks at it, and resumes from the store.

    It may be shared: each visitor has a view of it by `seen_by`, and what one stops goes on while another looks.

    `points`: what `digest` makes of each answer. `problems`: a sentence for each request that has none.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        pool: Pool,
        digest: Callable[[Any], T],
        context: Context | None = None,
    ) -> None:
        self.points: dict[Request, T] = {}
        self.problems: dict[Request, str] = {}
        self._requests = list(dict.fromkeys(requests))
        self._pool, self._digest, self._context = pool, digest, context
        self._lock = threading.Lock()
        self._waiting: dict[Request, Job] = {}
        self._looks: dict[object, float] = {}  # when each view that is not stopped was looked at last
        self._view, self._visitor, self._stopped = object(), NOBODY, False

    def seen_by(self, visitor: Visitor) -> Sweep[T]:
        """The same work and points as one visitor sees them, who may stop looking."""
        view = copy.copy(self)
        view._view, view._visitor, view._stopped = object(), visitor, False
        return view

    @property
    def by_spec(self) -> dict[Spec, T]:
        """The points by spec, where each spec is asked about once."""
        return {request.spec: point for request, point in self.points.items()}

    def look(self) -> float:
        """Gather what is done, keep the rest going; returns the share done, 0 to 1."""
        with self._lock:
            if not self._stopped:
                self._looks[self._view] = time.monotonic()
                self._resume()
            self._gather()
        return self.share

    def stop(self) -> None:
        """Stop at the next batch, unless somebody else looks; what is done stays."""
        self._stopped = True
        with self._lock:
            self._looks.pop(self._view, None)

    def go_on(self) -> None:
        """Start again after `stop` or after nobody looked for a while."""
        self._stopped = False
        self.look()

    @property
    def stopped(self) -> bool:
        """Whether it rests until `go_on`."""
        return self._stopped

    @property
    def total(self) -> int:
        """How many requests there are."""
        return len(self._requests)

    @property
    def done(self) -> int:
        """How many requests have a point or a problem."""
        return len(self.points) + len(self.problems)

    @property
    def share(self) -> float:
        """The share done, 0 to 1."""
        return self.done / max(self.total, 1)

    @property
    def running(self) -> bool:
        """Whether points are still to come in this view."""
        return not self._stopped and self.done < self.total

    def _wanted(self) -> bool:
        return any(time.monotonic() - looked < ABANDONED_S for looked in list(self._looks.values()))

    def _resume(self) -> None:
        for request in self._requests:
            if not (request in self._waiting or request in self.points or request in self.problems):
                self._waiting[request] = self._pool.submit(
                    request.answer, True, self._wanted, self._context, self._visitor
                )

    def _gather(self) -> None:
        for request, job in list(self._waiting.items()):
            if not job.future.done():
                continue
            del self._waiting[request]
            if (problem := job.future.exception()) is None:
                self.points[request] = self._digest(job.future.result())
            elif isinstance(problem, ReflowError):
                self.problems[request] = str(problem)


def scrub(spec: Spec, pool: Pool, context: Context | None = None) -> Sweep[dict[str, Any]]:
    """The sweep over all sparsities that a slider follows."""
    return Sweep([Request(at) for at in along(spec, coarse_first(SCRUB))], pool, pack, context)
