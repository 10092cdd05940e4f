"""The pool of workers: people before background, visitors in turn, every job stopped at its next batch.

A job cannot be taken from its thread, but it calls its watch at every batch: there, once its slice is over and another
visitor waits, the thread gives its worker back and blocks until its turn comes again. So one long job delays others by
a slice and a batch, not by its length. Nothing is paused while it holds what others wait for: whoever waits for
another's build in a memo gives the worker back too, so that the builder gets it.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from reflow_core.errors import Cancelled, ReflowError
from reflow_core.lab.request import WAITS, Context
from reflow_core.lab.turns import NOBODY, Job, Turns, Visitor, Work
from reflow_core.machine import cores, free_memory, lowest_priority, prepare
from reflow_core.memo import waits_by
from reflow_core.sandbox import QUEUES, READS
from reflow_core.watch import Watch

CLOSE_S = 10.0
QUIET_S = 3.0  # how long the background leaves the processor to a browser that draws what a person asked for
MOSTLY_WAITING = 4  # seconds for one of the processor
FIRST_S, NEXT_S = 2.0, 0.5  # a turn: at first long enough for the usual answer, those of long jobs are short
POLL_S = 0.1
MOST_PAUSED = 8  # each holds its networks and activations
MOST_BEHIND, MUCH_FREE = 4, 8 << 30  # jobs of the background at once, and the free bytes that more than one needs
LEAST_FREE = 2 << 30  # bytes of memory below which no job begins beside paused ones
IDLE = (WAITS, READS, QUEUES)  # stages that need no worker
LIGHT, TIMED = 0, 2  # workers that work needs which reads a file, and which measures seconds
MOST_WAITING = 8  # jobs of one visitor


class _StepAside(Exception):
    """A background job makes room for a person and will be done anew."""


class _Worked:
    """How long a job has computed, in all and in this turn; for the job's own thread.

    In seconds of the processor, so that a busy machine does not cut the usual answer into many turns; where a job
    mostly waits, so many times as long on the wall's clock.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._turn = job, job.turn
        self._first = self._latest = self._now()

    def turn_is_over(self) -> bool:
        """Whether others may have theirs now."""
        now = self._now()
        if self._job.turn != self._turn:
            self._turn, self._latest = self._job.turn, now
        return _longer(self._first, now, FIRST_S) and _longer(self._latest, now, NEXT_S)

    def _now(self) -> tuple[float, float]:
        return time.thread_time(), self._job.seconds


def _longer(since: tuple[float, float], now: tuple[float, float], seconds: float) -> bool:
    return now[0] - since[0] >= seconds or now[1] - since[1] >= MOSTLY_WAITING * seconds


class Pool:
    """Daemon threads that compute: `workers` at a time for people, few of lowest priority while no one waits.

    Whoever computes alone has all cores, so that one person's answer comes soon; of several each has its share. On one
    core each, two answers cost half of what they cost on two cores each: the threads of one wait for each other
    wherever others have a core, and a small network waits there for most of the time.

    `behind`: how many jobs of the background are computed at once, on their share of the cores each.
    """

    def __init__(self, context: Context, workers: int | None = None) -> None:
        self.context = context
        self._workers = workers or cores()
        self._people, self._behind = Turns(), Turns()
        self._free = self._here = self._workers
        self.behind = min(self._workers, MOST_BEHIND)
        self._elsewhere, self._hands = False, self.behind
        self._working: set[Job] = set()  # jobs of the background
        self._begun_by: Counter[Visitor] = Counter()
        self._changed = threading.Condition()
        self._quiet_until = 0.0
        self._closed = False
        self._threads: set[threading.Thread] = set()
        for _ in range(self.behind):
            self._start(self._work_behind)
        atexit.register(self.close)

    def submit(
        self,
        work: Work,
        background: bool = False,
        wanted: Callable[[], bool] = lambda: True,
        context: Context | None = None,
        visitor: Visitor = NOBODY,
        places: int = 1,
    ) -> Job:
        """Queue some work. `wanted`: asked at every batch; False cancels it. `context`: another than the pool's.

        `visitor`: whose turn it takes. `places`: how many workers it needs: TIMED if it measures seconds, LIGHT if it
        computes next to nothing and so waits for nobody. Raises ReflowError where too many of this visitor's wait.
        """
        job = Job(work, background, wanted, context or self.context, visitor, min(places, self._workers))
        with self._changed:
            self._drop_cancelled()
            if not background and sum(each.visitor == visitor for each in self._people.waiting) >= MOST_WAITING:
                raise ReflowError(
                    f"{MOST_WAITING} of your computations are already waiting; let one finish or close a tab."
                )
            (self._behind if background else self._people).enter(job)
            self._pass_on()
        return job

    def ahead(self, job: Job) -> int:
        """How many turns come before that of a job that waits."""
        with self._changed:
            self._drop_cancelled()
            turns = (self._behind if job.background else self._people).copy()
        return turns.before(job)

    def compute_elsewhere(self, workers: int) -> None:
        """From now on so many jobs are computed at a time, each by a worker of a cluster; 0: here again."""
        with self._changed:
            self._elsewhere, workers = workers > 0, workers or self._here
            self._free += workers - self._workers
            self._workers, self.behind = workers, workers if self._elsewhere else min(workers, MOST_BEHIND)
            for _ in range(self._hands, self.behind):
                self._start(self._work_behind)
            self._hands = max(self._hands, self.behind)
            self._pass_on()

    @property
    def asked(self) -> int:
        """How much work of people waits or runs."""
        return len(self._people)

    @property
    def threads(self) -> int:
        """The cores that one job may use now: its share of those of all that compute."""
        return max(1, cores() // max(1, self._workers - self._free))

    def attend(self) -> None:
        """A person is at work: the background keeps still for a moment."""
        self._quiet_until = time.monotonic() + QUIET_S

    def close(self) -> None:
        """Stop every job at its next batch and end the threads; what is stored stays."""
        with self._changed:
            self._closed = True
            self._drop_cancelled()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(CLOSE_S)
        atexit.unregister(self.close)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name="reflow", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _pass_on(self) -> None:
        """Give free workers to those whose turn it is."""
        while (job := self._next()) is not None and min(job.places, self._workers) <= self._free:
            job.places = min(job.places, self._workers)
            self._people.begin(job)
            self._free -= job.places
            job.turn = time.monotonic()
            if not job.begun:
                job.begun = True
                self._begun_by[job.household] += 1
                self._start(self._work_for_a_person, job)
        self._changed.notify_all()

    def _next(self) -> Job | None:
        """Whose turn it is; where many are paused or memory is short, those that have begun end first."""
        self._drop_cancelled()
        free = free_memory() if self._begun_by else None
        short = free is not None and free < LEAST_FREE

        def may(job: Job) -> bool:
            return job.begun or (not short and self._has_room(job))

        return self._people.first(lambda job: job.places == LIGHT and may(job)) or self._people.first(may)

    def _has_room(self, job: Job) -> bool:
        """Whether another may begin; the last places are for those of whom nothing has begun, so that none starves."""
        places = MOST_PAUSED if self._begun_by[job.household] else 2 * MOST_PAUSED
        return sum(self._begun_by.values()) < self._workers + places

    def _drop_cancelled(self) -> None:
        for job in [each for each in self._people.waiting if not each.begun and self._unwanted(each)]:
            self._people.waiting.remove(job)
            self._people.leave(job)
            job.future.set_exception(Cancelled("no longer needed"))

    def _unwanted(self, job: Job) -> bool:
        return self._closed or job.cancelled or not job.wanted()

    def _work_for_a_person(self, job: Job) -> None:
        waits_by(lambda: self._aside(job))
        self._run(job)
        with self._changed:
            if job.turn is not None:
                self._end_turn(job)
            self._begun_by[job.household] -= 1
            if not self._begun_by[job.household]:
                del self._begun_by[job.household]
            self._people.leave(job)
            self._threads.discard(threading.current_thread())
            self._pass_on()

    def _end_turn(self, job: Job) -> None:
        job.spent, job.turn = job.seconds, None
        self._people.end(job)
        self._free += job.places

    @contextlib.contextmanager
    def _aside(self, job: Job) -> Iterator[None]:
        """Without a worker for as long as the body runs and until its turn comes again. Raises Cancelled."""
        with self._changed:
            self._end_turn(job)
            self._pass_on()
        yield
        with self._changed:
            self._wait_for_turn(job)

    def _step_aside(self, job: Job) -> None:
        """Give the worker to whose turn it is, and wait for the next: at once, so that none of its own overtakes it."""
        with self._changed:
            self._end_turn(job)
            self._wait_for_turn(job)

    def _wait_for_turn(self, job: Job) -> None:
        self._people.waiting.append(job)
        self._pass_on()
        while job.turn is None:
            if self._unwanted(job):
                self._people.waiting.remove(job)
                raise Cancelled("no longer needed")
            self._changed.wait(POLL_S)

    def _rest(self, job: Job) -> None:
        """Without a worker until it has something to compute again."""
        with self._changed:
            if job.turn is not None:
                self._end_turn(job)
                self._pass_on()

    def _others_wait(self, job: Job) -> bool:
        with self._changed:
            return (other := self._next()) is not None and other.visitor != job.visitor

    def _work_behind(self) -> None:
        lowest_priority()
        while (job := self._take_behind()) is not None:
            job.begun = True
            again = self._run(job)
            with self._changed:
                self._working.discard(job)
                self._behind.end(job)
                self._changed.notify_all()
                if again:
                    self._behind.waiting.append(job)
                else:
                    self._behind.leave(job)

    def _take_behind(self) -> Job | None:
        with self._changed:
            while not self._closed and ((job := self._behind.first()) is None or not self._may_behind(job)):
                self._changed.wait(self._still() or None)
            if self._closed or job is None:
                return None
            self._behind.begin(job)
            self._working.add(job)
            return job

    def _may_behind(self, job: Job) -> bool:
        """Whether the background may begin a job now: beside another here only where there is memory for both."""
        if self._people_first(self._places_behind(job)):
            return False
        free = free_memory() if self._working and not self._elsewhere else None
        return free is None or free >= MUCH_FREE

    def _places_behind(self, job: Job) -> int:
        return 1 if job.places < TIMED else self.behind

    def _people_first(self, more: int = 0) -> bool:
        """Whether the background, with `more` places, takes what people need. Elsewhere only workers count."""
        behind = more + sum(map(self._places_behind, self._working))
        if self._elsewhere:
            return len(self._people) + behind > self._workers
        return len(self._people) > 0 or self._still() > 0 or behind > self.behind

    def _makes_room(self, job: Job) -> bool:
        """Whether a job of the background is to step aside; from then on it counts no more."""
        with self._changed:
            if first := self._people_first():
                self._working.discard(job)
            return first

    def _still(self) -> float:
        return max(0.0, self._quiet_until - time.monotonic())

    def _run(self, job: Job) -> bool:
        """Compute a job; returns whether it stepped aside and is to be done anew."""
        try:
            job.future.set_result(job.work(job.context, self._watch(job)))
        except _StepAside:
            return True
        except Exception as error:  # whatever happened belongs to whoever asked; the worker lives on
            job.future.set_exception(error)
        return False

    def _watch(self, job: Job) -> Watch:
        clock, threads = _Worked(job), self._adjust(job, 0)

        def watch(stage: str, done: int, total: int) -> None:
            nonlocal threads
            job.progress = (stage, done, total)
            job.pace.saw(stage, done, total, job.seconds)
            if self._unwanted(job):
                raise Cancelled("no longer needed")
            if job.background and self._makes_room(job):
                raise _StepAside
            if job.background:
                return
            if stage in IDLE:
                self._rest(job)
            elif job.turn is None:
                with self._changed:
                    self._wait_for_turn(job)
            elif not self._elsewhere and clock.turn_is_over() and self._others_wait(job):
                self._step_aside(job)
            threads = self._adjust(job, threads)

        return watch

    def _adjust(self, job: Job, before: int) -> int:
        """Have this thread compute on its share of the cores, which were `before`; returns how many these are."""
        threads = job.places
        if threads < TIMED:
            threads = max(1, cores() // self.behind) if job.background else self.threads
        if threads != before:
            prepare(threads)
        return threads
