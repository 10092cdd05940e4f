"""Sweeps: many specs, computed in the background; one of them packed for drawing while a slider moves."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from reflow_core.diagnosis.result import Diagnosis, finite
from reflow_core.diagnosis.verdict import verdict
from reflow_core.errors import ReflowError
from reflow_core.lab.work import Home, Job, Pool, asking
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


def pack(found: Diagnosis) -> dict[str, Any]:
    """One point of a sweep, small enough to send a hundred of: what the scrub panels draw, rounded to 4 digits."""
    judged = verdict(found)
    before = verdict(dataclasses.replace(found, answers={arm: found.answers[arm] for arm in ("dense", "pruned")}))
    shown = found.outcomes()
    return {
        "sparsity": found.spec.sparsity,
        "status": judged.status,
        "headline": judged.headline,
        "before": {"status": before.status, "headline": before.headline},
        "evidence": list(judged.evidence),
        "score": {arm: _round(o.agreement if o.accuracy is None else o.accuracy) for arm, o in shown.items()},
        "ci": {arm: [_round(edge) for edge in o.ci95] for arm, o in shown.items() if o.ci95 is not None},
        "histogram": {arm: list(o.histogram) for arm, o in shown.items()},
        "effective": {arm: _round(o.effective_classes) for arm, o in shown.items()},
        "entropy": {arm: _round(o.entropy) for arm, o in shown.items()},
        "never": {arm: len(o.never) for arm, o in shown.items()},
        "ratio": {arm: [_round(layer.variance_ratio(arm)) for layer in found.layers] for arm in ("pruned", "repaired")},
    }


def _round(value: float | None) -> float | None:
    return None if (value := finite(value)) is None else float(f"{value:.4g}")


class Sweep(Generic[T]):
    """Many specs in the pool's background. It goes on only while somebody looks at it, and resumes from the store.

    `asked`: specs to diagnose, or to inspect where an `inspection` is named; or one spec a named inspection.
    `points`: what `digest` makes of each diagnosis or finding, by spec, or by inspection. `problems`: a sentence for
    each that has none.
    """

    def __init__(
        self,
        asked: Sequence[Spec] | Mapping[str, Spec],
        pool: Pool,
        digest: Callable[[Any], T],
        home: Home | None = None,
        inspection: str = "",
    ) -> None:
        self.points: dict[Any, T] = {}
        self.problems: dict[Any, str] = {}
        self.total = len(asked)
        self._asked: dict[Any, tuple[str, Spec]] = (
            {name: (name, spec) for name, spec in asked.items()}
            if isinstance(asked, Mapping)
            else {spec: (inspection, spec) for spec in asked}
        )
        self._pool, self._digest, self._home = pool, digest, home
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._stopped = False
        self._waiting: dict[Any, Job] = {}

    def look(self) -> float:
        """Gather what is done, keep the rest going; returns the share done, 0 to 1."""
        self._looked = time.monotonic()
        with self._lock:
            if not self._stopped:
                self._resume()
                self._gather()
        return self.share

    def stop(self) -> None:
        """Stop at the next batch; what is done stays."""
        self._stopped = True

    def go_on(self) -> None:
        """Start again after `stop` or after nobody looked for a while."""
        self._stopped = False
        self.look()

    @property
    def stopped(self) -> bool:
        """Whether it rests until `go_on`."""
        return self._stopped

    @property
    def done(self) -> int:
        """How many specs have a point or a problem."""
        return len(self.points) + len(self.problems)

    @property
    def share(self) -> float:
        """The share done, 0 to 1."""
        return self.done / max(self.total, 1)

    @property
    def running(self) -> bool:
        """Whether points are still to come."""
        return not self._stopped and self.done < self.total

    def _wanted(self) -> bool:
        return not self._stopped and time.monotonic() - self._looked < ABANDONED_S

    def _resume(self) -> None:
        for key, (inspection, spec) in self._asked.items():
            if not (key in self._waiting or key in self.points or key in self.problems):
                self._waiting[key] = self._pool.submit(asking(spec, inspection), True, self._wanted, self._home)

    def _gather(self) -> None:
        for key, job in list(self._waiting.items()):
            if not job.future.done():
                continue
            del self._waiting[key]
            if (problem := job.future.exception()) is None:
                self.points[key] = self._digest(job.future.result())
            elif isinstance(problem, ReflowError):
                self.problems[key] = str(problem)


def scrub(spec: Spec, pool: Pool, home: Home | None = None) -> Sweep[dict[str, Any]]:
    """The sweep over all sparsities that a slider follows."""
    return Sweep(along(spec, coarse_first(SCRUB)), pool, pack, home)
