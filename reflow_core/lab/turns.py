"""Whose turn it is: every visitor in turn, and those who share an address share that address's turns.

A class behind one address then waits for itself only, and whoever opens many sessions at one address gets no more turns
by it. Kept is only what belongs to work that waits or runs.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from reflow_core.lab.pace import Pace
from reflow_core.lab.request import Context
from reflow_core.memo import lazy
from reflow_core.watch import Watch

Visitor = tuple[Hashable, ...]  # from the outermost group inward: (address, browser)
NOBODY: Visitor = (None,)
Work = Callable[[Context, Watch], Any]


@dataclass(eq=False)
class Job:
    """One piece of work in the pool. `progress`: (stage, done, total) of the moment; `begun`: whether it has started.

    `places`: how many of the workers it takes. `turn`: since when it has them, None while it has none; `spent`: seconds
    of earlier turns.
    """

    work: Work
    background: bool
    wanted: Callable[[], bool]
    context: Context
    visitor: Visitor = NOBODY
    places: int = 1
    future: Future[Any] = field(default_factory=Future)
    progress: tuple[str, int, int] = ("load", 0, 1)
    pace: Pace = field(default_factory=Pace)
    begun: bool = False
    turn: float | None = None
    spent: float = 0.0
    cancelled: bool = False

    def cancel(self) -> None:
        """Stop at the next batch; the future then raises Cancelled."""
        self.cancelled = True

    @lazy
    def groups(self) -> list[Visitor]:
        """Whom it belongs to, from the outermost inward."""
        return [self.visitor[: length + 1] for length in range(len(self.visitor))]

    @property
    def household(self) -> Visitor:
        """Who shares the places of work that has begun: an address where one is known, else a browser."""
        return self.visitor[:1] if self.visitor[0] is not None else self.visitor

    @property
    def seconds(self) -> float:
        """How long it has been computed, without its pauses."""
        turn = self.turn
        return self.spent if turn is None else self.spent + time.monotonic() - turn


class Turns:
    """Work by visitor: first whose address, then whose visitor had no turn for longest; a visitor's own in order.

    No lock of its own: whoever shares it holds theirs. Its length: how much work there is, that which runs included.
    """

    def __init__(self) -> None:
        self.waiting: list[Job] = []
        self._number: dict[Job, int] = {}
        self._last: dict[Visitor, int] = {}
        self._alive: Counter[Visitor] = Counter()
        self._serving: Counter[Visitor] = Counter()
        self._clock = itertools.count()

    def __len__(self) -> int:
        return len(self._number)

    def copy(self) -> Turns:
        """As things are, for a look that takes longer than the lock should be held."""
        copied = Turns()
        copied.waiting, copied._number, copied._last = list(self.waiting), self._number.copy(), self._last.copy()
        copied._alive, copied._serving = self._alive.copy(), self._serving.copy()
        return copied

    def enter(self, job: Job) -> None:
        """New work waits; a newcomer's turn comes after that of all who wait already."""
        self._number[job] = next(self._clock)
        for group in job.groups:
            if not self._alive[group]:
                self._last[group] = next(self._clock)
            self._alive[group] += 1
        self.waiting.append(job)

    def leave(self, job: Job) -> None:
        """It has ended."""
        del self._number[job]
        for group in job.groups:
            self._alive[group] -= 1
            if not self._alive[group]:
                del self._alive[group], self._last[group], self._serving[group]

    def begin(self, job: Job) -> None:
        """Its turn begins: as long as it lasts, all other visitors come before this one."""
        self.waiting.remove(job)
        self._serving.update(job.groups)
        self._last.update((group, next(self._clock)) for group in job.groups)

    def end(self, job: Job) -> None:
        """Its turn has ended; it does not wait for another yet."""
        self._serving.subtract(job.groups)
        self._last.update((group, next(self._clock)) for group in job.groups)

    def first(self, may: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """Whose turn it is among those that wait and `may`."""
        return min(filter(may, self.waiting), key=self._rank, default=None)

    def before(self, job: Job) -> int:
        """How many turns come before that of one that waits, as things are. Counted away: to be asked of a copy."""
        return next((place for place, other in enumerate(self._order()) if other is job), 0)

    def _order(self) -> Iterator[Job]:
        """Those that wait, as their turns come; leaves none of them waiting."""
        later = itertools.count(max(self._last.values(), default=0) + 1)
        while (job := self.first()) is not None:
            self.waiting.remove(job)
            yield job
            self._last.update((group, next(later)) for group in job.groups)

    def _rank(self, job: Job) -> tuple[int, ...]:
        ranks = ((self._serving[group] > 0, self._last[group]) for group in job.groups)
        return (*itertools.chain(*ranks), not job.begun, self._number[job])
