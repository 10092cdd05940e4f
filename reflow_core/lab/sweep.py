"""Sweeps: many requests, computed in the background; one of them packed for drawing while a slider moves."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.shown_classes import shown_classes
from reflow_core.diagnosis.verdict import verdict
from reflow_core.errors import ReflowError
from reflow_core.lab.curve import Drawn, drawn_of, next_to_compute
from reflow_core.lab.pool import TIMED, Pool
from reflow_core.lab.request import Context, Request
from reflow_core.lab.turns import NOBODY, Job, Visitor
from reflow_core.numbers import finite
from reflow_core.spec import Spec

T = TypeVar("T")
SCRUB = tuple(percent / 100 for percent in range(100))
ABANDONED_S = 10.0  # more than the time between two looks in a crowd


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
        "preview": diagnosis.preview,
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


def drawn_of_pack(point: Mapping[str, Any]) -> Drawn:
    """What the scope draws of a packed point over sparsity."""
    return drawn_of(point["score"], point["ratio"])


def _round(value: float | None) -> float | None:
    return None if (value := finite(value)) is None else float(f"{value:.4g}")


Choose = Callable[[Mapping[Request, T], Sequence[Request], Collection[Request], int], list[Request]]


def in_order(
    points: Mapping[Request, Any], requests: Sequence[Request], pending: Collection[Request], count: int
) -> list[Request]:
    """The next `count` of the requests that have no point and are not pending, as they are listed."""
    left = (request for request in requests if not (request in points or request in pending))
    return list(itertools.islice(left, count))


def where_curves_bend(drawn: Callable[[T], Drawn]) -> Choose[T]:
    """A choice among requests at many sparsities: each configuration in turn, each curve where it bends most.

    `drawn`: what figures draw of a point.
    """

    def choose(
        points: Mapping[Request, T], requests: Sequence[Request], pending: Collection[Request], count: int
    ) -> list[Request]:
        chosen: list[Request] = []
        while len(chosen) < count and (open_curves := _open_curves(requests, {*points, *pending, *chosen})):
            curve = open_curves[0]
            known = {at: drawn(points[request]) for at, request in curve.items() if request in points}
            taken = [at for at, request in curve.items() if request in pending or request in chosen]
            chosen += [curve[at] for at in next_to_compute(known, curve, 1, taken)]
        return chosen

    return choose


def _open_curves(requests: Sequence[Request], taken: Collection[Request]) -> list[dict[float, Request]]:
    """The requests of each configuration by sparsity, of those with some left; that with the fewest taken first."""
    curves: dict[Request, dict[float, Request]] = {}
    for request in requests:
        curves.setdefault(_configuration(request), {})[request.spec.sparsity] = request
    counted = [(sum(request in taken for request in curve.values()), curve) for curve in curves.values()]
    return [curve for count, curve in sorted(counted, key=lambda each: each[0]) if count < len(curve)]


@functools.lru_cache(maxsize=1 << 12)
def _configuration(request: Request) -> Request:
    """What all points of a curve share: asked again for every request whenever one is done."""
    return dataclasses.replace(request, spec=request.spec.replace(sparsity=0.0))


@dataclass(eq=False)
class _Shared(Generic[T]):
    """What all views of a sweep have in common. `points` and `problems` are replaced, never changed in place.

    `previews`: the requests whose points are previews; `exact`: whether somebody asked for their exact points.
    `keys`: in the store, as far as they were needed. `looks`: of each view that is not stopped, whose it is and when it
    was looked at last.
    """

    points: dict[Request, T] = field(default_factory=dict)
    previews: frozenset[Request] = frozenset()
    exact: bool = False
    problems: dict[Request, str] = field(default_factory=dict)
    waiting: dict[Request, Job] = field(default_factory=dict)
    keys: dict[Request, str] = field(default_factory=dict)
    looks: dict[object, tuple[float, Visitor]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)  # held for a moment only
    queueing: threading.Lock = field(default_factory=threading.Lock)
    due: bool = False  # whether something may have to be queued

    def keep(self, request: Request, point: T, preview: bool) -> None:
        """A request has its point; a preview never takes the place of an exact one."""
        with self.lock:
            if preview and request in self.points:
                return
            self.points = {**self.points, request: point}
            self.previews = self.previews | {request} if preview else self.previews - {request}

    @property
    def settled(self) -> dict[Request, T]:
        """The points that are not to be computed again."""
        previews = self.previews if self.exact else ()
        return {request: point for request, point in self.points.items() if request not in previews}

    @property
    def wanted(self) -> bool:
        """Whether anybody looked of late."""
        return any(time.monotonic() - looked < ABANDONED_S for looked, _ in list(self.looks.values()))


class Sweep(Generic[T]):
    """Many requests in the pool's background. It goes on only while somebody looks at it, and resumes from the store.

    It may be shared: each visitor has a view of it by `seen_by`, and what one stops goes on while another looks. Only
    as many requests are queued as the background computes at once: `choose` names the next when one is done, so that it
    may heed what is known by then. What the store has is taken before anything is computed.

    `previews`: whether points of networks whose pass is long are computed in bfloat16 first, until the exact ones are
    asked for or known.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        pool: Pool,
        digest: Callable[[Any], T],
        context: Context | None = None,
        choose: Choose[T] = in_order,
        previews: bool = False,
    ) -> None:
        self._previews = previews
        self._requests = dict.fromkeys(requests)
        self._pool, self._digest, self._context, self._choose = pool, digest, context or pool.context, choose
        self._shared = _Shared[T]()
        self._view, self._visitor, self._stopped = object(), NOBODY, False

    def seen_by(self, visitor: Visitor) -> Sweep[T]:
        """The same work and points as one visitor sees them, who may stop looking."""
        view = copy.copy(self)
        view._view, view._visitor, view._stopped = object(), visitor, False
        return view

    @property
    def points(self) -> dict[Request, T]:
        """What `digest` makes of each answer so far."""
        return self._shared.points

    @property
    def previews(self) -> int:
        """How many of the points are previews."""
        return len(self._shared.previews)

    def compute_exactly(self) -> None:
        """Compute the exact points in place of previews, for all who look."""
        self._shared.exact = True
        self.go_on()

    @property
    def problems(self) -> dict[Request, str]:
        """A sentence for each request that has no answer."""
        return self._shared.problems

    @property
    def by_spec(self) -> dict[Spec, T]:
        """The points by spec, where each spec is asked about once."""
        return {request.spec: point for request, point in self.points.items()}

    def look(self) -> float:
        """Gather what is done, keep the rest going; returns the share done, 0 to 1."""
        if not self._stopped:
            self._shared.looks[self._view] = time.monotonic(), self._visitor
        self._go_on()
        return self.share

    def learn(self, request: Request, answer: Any) -> None:
        """Take an answer that was computed for somebody else, if it is one of this sweep's."""
        if request in self._requests and (request not in self.points or request in self._shared.previews):
            self._shared.keep(request, self._digest(answer), preview=False)

    def stop(self) -> None:
        """Stop at the next batch, unless somebody else looks; what is done stays."""
        self._stopped = True
        self._shared.looks.pop(self._view, None)

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
        """How many requests have a point that stays, or a problem."""
        return len(self._shared.settled) + len(self.problems)

    @property
    def share(self) -> float:
        """The share done, 0 to 1."""
        return self.done / max(self.total, 1)

    @property
    def running(self) -> bool:
        """Whether points are still to come in this view."""
        return not self._stopped and self.done < self.total

    def _go_on(self, _: object = None) -> None:
        """Gather what is done, and queue what is next while somebody looks.

        Who finds another at it leaves it to them: the background's threads have the lowest priority, and on a busy
        machine a page would wait for them for minutes.
        """
        for request, job in list(self._shared.waiting.items()):
            if job.future.done():
                self._gather(request, job)
        self._shared.due = True
        while self._shared.due and self._shared.queueing.acquire(blocking=False):
            try:
                self._shared.due = False
                for request in self._next() if self._shared.wanted else []:
                    self._queue(request)
            finally:
                self._shared.queueing.release()

    def _gather(self, request: Request, job: Job) -> None:
        """Its digest is made outside of the lock, for others wait for that."""
        if (problem := job.future.exception()) is None:
            answer = job.future.result()
            self._shared.keep(request, self._digest(answer), isinstance(answer, Diagnosis) and answer.preview)
        elif isinstance(problem, ReflowError):
            with self._shared.lock:
                self._shared.problems = {**self.problems, request: str(problem)}
        with self._shared.lock:
            self._shared.waiting.pop(request, None)

    def _next(self) -> list[Request]:
        """What to queue now: what the store has, else what is chosen."""
        shared = self._shared
        if (room := self._pool.behind - len(shared.waiting)) <= 0:
            return []
        left, settled = [request for request in self._requests if request not in shared.problems], shared.settled
        stored = self._stored([each for each in left if not (each in settled or each in shared.waiting)])
        return stored[:room] or self._choose(settled, left, shared.waiting, room)

    def _stored(self, requests: Sequence[Request]) -> list[Request]:
        """Those whose answer is there already."""
        keys = {request: key for request in requests if (key := self._key(request)) is not None}
        there = self._context.store.which(keys.values())
        return [request for request, key in keys.items() if key in there]

    def _key(self, request: Request) -> str | None:
        """The key in the store; None for what cannot be resolved: its answer will say why."""
        if request not in self._shared.keys:
            try:
                self._shared.keys[request] = request.key(self._context.library)
            except ReflowError:
                return None
        return self._shared.keys[request]

    def _queue(self, request: Request) -> None:
        visitor = max(list(self._shared.looks.values()), key=lambda look: look[0], default=(0.0, NOBODY))[1]
        places = TIMED if request.timed else 1
        work = request.exact_or_preview if self._previews and not self._shared.exact else request.answer
        job = self._pool.submit(work, True, lambda: self._shared.wanted, self._context, visitor, places)
        self._shared.waiting[request] = job
        job.future.add_done_callback(self._go_on)


def scrub(spec: Spec, pool: Pool, context: Context | None = None) -> Sweep[dict[str, Any]]:
    """The sweep over all sparsities that a slider follows."""
    requests = [Request(at) for at in along(spec)]
    return Sweep(requests, pool, pack, context, where_curves_bend(drawn_of_pack), previews=True)
