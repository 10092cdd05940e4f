"""Sweeps: one spec at many sparsities, computed in the background and packed for drawing while a slider moves."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from reflow_core.result import Diagnosis, finite
from reflow_core.spec import Spec
from reflow_core.verdict import verdict
from reflow_core.work import Job, Pool

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


class Sweep:
    """A sweep in the pool's background. It goes on only while somebody looks at it, and resumes from the store."""

    def __init__(self, spec: Spec, pool: Pool, sparsities: Sequence[float] = SCRUB) -> None:
        self.points: dict[float, dict[str, Any]] = {}
        self.total = len(sparsities)
        self.error: str | None = None
        self._pool = pool
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._stopped = False
        self._waiting: list[tuple[float, Job]] = []
        self._todo = [spec.replace(sparsity=sparsity) for sparsity in coarse_first(sparsities)]

    def look(self) -> float:
        """Gather what is done, keep the rest going; returns the share done, 0 to 1."""
        self._looked = time.monotonic()
        with self._lock:
            if not self._stopped:
                self._resume()
                self._gather()
        return len(self.points) / self.total

    def stop(self) -> None:
        """Stop at the next batch; what is done stays."""
        self._stopped = True

    def go_on(self) -> None:
        """Start again after `stop` or after nobody looked for a while."""
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether points are still to come."""
        return not self._stopped and len(self.points) < self.total

    def _wanted(self) -> bool:
        return not self._stopped and time.monotonic() - self._looked < ABANDONED_S

    def _resume(self) -> None:
        queued = {sparsity for sparsity, _ in self._waiting}
        for spec in self._todo:
            if spec.sparsity not in self.points and spec.sparsity not in queued:
                self._waiting.append((spec.sparsity, self._pool.submit(spec, background=True, wanted=self._wanted)))

    def _gather(self) -> None:
        still = []
        for sparsity, job in self._waiting:
            if not job.future.done():
                still.append((sparsity, job))
            elif (problem := job.future.exception()) is None:
                self.points[sparsity] = pack(job.future.result())
            elif isinstance(problem, ValueError):
                self.error, self._stopped = str(problem), True
        self._waiting = still
