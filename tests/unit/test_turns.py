"""Visitors take turns at the workers: works that call their watch when the test says so, no sleeping.

A work here is a generator of batches: each `step()` lets it compute one, `at` says how many it has begun.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pages.ui.stage import gather
from pages.ui.visitor import browser_of, network_of
from reflow_core import Library
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.lab.pool import MOST_PAUSED, MOST_WAITING, Pool
from reflow_core.lab.request import WAITS, Context, Request
from reflow_core.lab.store import Store
from reflow_core.lab.sweep import Sweep
from reflow_core.lab.turns import Job, Visitor
from reflow_core.memo import Memo
from reflow_core.production.timing import race
from reflow_core.spec import Spec
from reflow_core.watch import Watch
from tests.waiting import until

ANN, BOB, EVE = ("1", "ann"), ("2", "bob"), ("3", "eve")
ENOUGH_S = 20.0


class Clock:
    """Time as the works here make it pass: a second a batch."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    thread_time = monotonic


class Batches:
    """A work of `count` batches of a second: it stands before the end of each until `step` lets it go on."""

    def __init__(self, clock: Clock, count: int, log: list[str] | None = None, name: str = "") -> None:
        self.clock, self.count, self.log, self.name = clock, count, [] if log is None else log, name
        self._go, self.computed, self.seconds = threading.Semaphore(0), 0, 1.0

    def __call__(self, context: Context, watch: Watch) -> str:
        for number in range(self.count):
            watch("batch", number, self.count)
            assert self._go.acquire(timeout=ENOUGH_S)
            self.clock.now += self.seconds
            self.computed += 1
            self.log.append(self.name)
        return self.name

    def step(self, batches: int = 1) -> None:
        self._go.release(batches)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A turn is one batch long."""
    own = Clock()
    monkeypatch.setattr("reflow_core.lab.pool.FIRST_S", 1.0)
    monkeypatch.setattr("reflow_core.lab.pool.NEXT_S", 1.0)
    monkeypatch.setattr("reflow_core.lab.pool.CLOSE_S", 0.1)  # works that a test leaves stand still for good
    monkeypatch.setattr("reflow_core.lab.pool.time", own)
    monkeypatch.setattr("reflow_core.lab.turns.time", own)
    return own


@pytest.fixture
def pool(tmp_path: Path, library: Library, clock: Clock) -> Iterator[Pool]:
    """One worker."""
    opened = Pool(Context(library, Store(tmp_path)), workers=1)
    yield opened
    opened.close()


def begun(*jobs: Job) -> bool:
    return until(lambda: all(job.begun for job in jobs))


def test_four_long_jobs_of_one_visitor_delay_anothers_answer_by_one_batch(pool: Pool, clock: Clock) -> None:
    """First come, first served, this waits for 40 batches."""
    long = [Batches(clock, 10) for _ in range(4)]
    jobs = [pool.submit(work, visitor=ANN) for work in long]
    assert begun(jobs[0])
    answer = pool.submit(quick := Batches(clock, 3, name="bob"), visitor=BOB)
    quick.step(3)
    assert not answer.begun and pool.ahead(answer) == 0
    long[0].step(3)
    assert answer.future.result(ENOUGH_S) == "bob"
    assert [work.computed for work in long] == [3, 0, 0, 0], "a batch of each in turn"
    for work in long:
        work.step(10)
    assert all(job.future.result(ENOUGH_S) == "" for job in jobs), "what stepped aside goes on where it was"
    assert [work.computed for work in long] == [10, 10, 10, 10]


def test_work_in_the_background_delays_another_by_one_batch(pool: Pool, clock: Clock) -> None:
    behind = Batches(clock, 10)
    pool.submit(behind, background=True, visitor=ANN)
    behind.step()
    assert until(lambda: behind.computed == 1)
    answer = pool.submit(quick := Batches(clock, 1, name="bob"), visitor=BOB)
    quick.step()
    behind.step()
    assert answer.future.result(ENOUGH_S) == "bob"
    assert behind.computed <= 2


def test_visitors_take_turns_batch_by_batch_and_a_visitors_own_work_in_order(pool: Pool, clock: Clock) -> None:
    log: list[str] = []
    gate = Batches(clock, 1)
    jobs = [pool.submit(gate, visitor=EVE)]
    works = {}
    for visitor, name in ((ANN, "ann 1"), (ANN, "ann 2"), (BOB, "bob 1"), (BOB, "bob 2")):
        works[name] = Batches(clock, 2, log, name)
        works[name].step(2)
        jobs.append(pool.submit(works[name], visitor=visitor))
    assert [pool.ahead(job) for job in jobs[1:]] == [0, 2, 1, 3]
    gate.step()
    assert all(isinstance(job.future.result(ENOUGH_S), str) for job in jobs)
    assert log == ["ann 1", "bob 1", "ann 1", "bob 1", "ann 2", "bob 2", "ann 2", "bob 2"]


def test_many_sessions_at_one_address_share_that_addresss_turns(pool: Pool, clock: Clock) -> None:
    log: list[str] = []
    gate = Batches(clock, 1)
    jobs = [pool.submit(gate, visitor=EVE)]
    for number in range(4):
        work = Batches(clock, 1, log, f"tab {number}")
        work.step()
        jobs.append(pool.submit(work, visitor=("9", number)))
    for _ in range(2):
        work = Batches(clock, 1, log, "bob")
        work.step()
        jobs.append(pool.submit(work, visitor=BOB))
    gate.step()
    assert all(job.future.result(ENOUGH_S) is not None for job in jobs)
    assert log == ["tab 0", "bob", "tab 1", "bob", "tab 2", "tab 3"]


def test_a_first_turn_is_long_and_later_ones_are_short(
    pool: Pool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reflow_core.lab.pool.FIRST_S", 2.0)
    monkeypatch.setattr("reflow_core.lab.pool.NEXT_S", 0.5)
    ann, bob = Batches(clock, 9), Batches(clock, 9)
    first = pool.submit(ann, visitor=ANN)
    other = pool.submit(bob, visitor=BOB)

    def batch(work: Batches, seconds: float) -> None:
        before, work.seconds = work.computed, seconds
        work.step()
        assert until(lambda: work.computed > before)

    assert begun(first)
    batch(ann, 1.5)
    assert until(lambda: first.progress[1] == 1) and not other.begun
    batch(ann, 1.0)
    assert begun(other), "after two seconds"
    batch(bob, 2.0)
    assert until(lambda: first.turn == clock.now)
    assert first.seconds == 2.5
    batch(ann, 0.6)
    assert until(lambda: other.turn == clock.now), "after half a second"


def test_what_waits_for_another_jobs_build_lets_the_builder_go_on(pool: Pool, clock: Clock) -> None:
    """The builder is paused, and whoever needs its build has the only worker: both would stand still for ever."""
    memo, steps = Memo(size=2), Batches(clock, 2, name="built")
    build = lambda context, watch: memo.get("shared", lambda: steps(context, watch))  # noqa: E731
    builder = pool.submit(build, visitor=ANN)
    assert begun(builder)
    needs = pool.submit(build, visitor=BOB)
    steps.step()
    assert begun(needs)
    steps.step()
    assert builder.future.result(ENOUGH_S) == needs.future.result(ENOUGH_S) == "built"
    assert steps.computed == 2, "built once"


def test_two_visitors_who_ask_the_same_get_one_computation(pool: Pool, clock: Clock) -> None:
    first = pool.submit(work := Batches(clock, 2, name="same"), visitor=ANN)
    assert begun(first)

    def looks(context: Context, watch: Watch) -> str:
        while not first.future.done():
            watch(WAITS, 0, 1)
        return str(first.future.result())

    second = pool.submit(looks, visitor=BOB)
    work.step(2)
    assert second.future.result(ENOUGH_S) == "same"


def test_who_waits_for_anothers_result_or_a_reader_needs_no_turn(pool: Pool, clock: Clock) -> None:
    """Each look took a turn: with twenty visitors ten seconds, and ten more after the result was there."""
    ready = threading.Event()

    def looks(context: Context, watch: Watch) -> str:
        while not ready.is_set():
            watch(WAITS, 0, 1)
        return "there"

    waits = pool.submit(looks, visitor=BOB)
    assert begun(waits)
    busy = pool.submit(long := Batches(clock, 1), visitor=ANN)
    assert begun(busy), "it has given its worker back"
    ready.set()
    assert waits.future.result(ENOUGH_S) == "there" and not busy.future.done()
    long.step()
    assert busy.future.result(ENOUGH_S) == ""


def test_after_a_rest_what_is_left_to_compute_waits_for_its_turn(pool: Pool, clock: Clock) -> None:
    ready = threading.Event()

    def looks(context: Context, watch: Watch) -> str:
        while not ready.is_set():
            watch(WAITS, 0, 1)
        watch("batch", 0, 1)
        return "computed"

    waits = pool.submit(looks, visitor=BOB)
    busy = pool.submit(long := Batches(clock, 1), visitor=ANN)
    assert begun(waits, busy)
    ready.set()
    assert until(lambda: pool.ahead(waits) == 0 and waits.progress[0] == "batch") and not waits.future.done()
    long.step()
    assert waits.future.result(ENOUGH_S) == "computed"


def test_paused_work_is_bounded_and_can_be_cancelled(pool: Pool, clock: Clock) -> None:
    visitors: list[Visitor] = [(str(number), "") for number in range(2 * MOST_PAUSED + 3)]
    works = [Batches(clock, 50) for _ in visitors]
    jobs = [pool.submit(work, visitor=visitor) for work, visitor in zip(works, visitors, strict=True)]
    for work in works:
        work.step(20)
    assert until(lambda: sum(work.computed == 20 for work in works) >= 1)
    assert sum(job.begun for job in jobs) <= 2 * MOST_PAUSED + 1
    for job in jobs:
        job.cancel()
    for work in works:
        work.step(50)
    for job in jobs:
        with pytest.raises(Cancelled):
            job.future.result(ENOUGH_S)
    assert pool.submit(lambda context, watch: "next").future.result(ENOUGH_S) == "next"


def test_a_house_full_of_long_work_leaves_a_place_for_the_next_address(pool: Pool, clock: Clock) -> None:
    """Each tab with a cookie of its own: without the last places they held all there are until one ended."""

    def endless(context: Context, watch: Watch) -> None:
        while True:
            clock.now += 1
            watch("batch", 0, 1)

    tabs = [(f"house {number % 2}", str(number)) for number in range(2 * MOST_PAUSED)]
    jobs = [pool.submit(endless, visitor=tab) for tab in tabs]
    assert until(lambda: sum(job.begun for job in jobs) == MOST_PAUSED + 1)
    assert pool.submit(lambda context, watch: "soon", visitor=BOB).future.result(ENOUGH_S) == "soon"
    assert sum(job.begun for job in jobs) == MOST_PAUSED + 1
    for job in jobs:
        job.cancel()


def test_only_so_much_of_one_visitor_waits_and_what_was_cancelled_does_not_count(pool: Pool, clock: Clock) -> None:
    gate = Batches(clock, 1)
    pool.submit(gate, visitor=ANN)
    waiting = [pool.submit(Batches(clock, 0), visitor=ANN) for _ in range(MOST_WAITING)]
    with pytest.raises(ReflowError, match="of your computations are already waiting"):
        pool.submit(Batches(clock, 0), visitor=ANN)
    other = pool.submit(Batches(clock, 0), visitor=BOB)
    assert pool.ahead(waiting[0]) == 1 and pool.ahead(other) == 0
    waiting[0].cancel()
    assert pool.ahead(waiting[1]) == 1
    last = pool.submit(Batches(clock, 0), visitor=ANN)
    gate.step()
    assert last.future.result(ENOUGH_S) == "" and other.future.result(ENOUGH_S) == ""
    with pytest.raises(Cancelled):
        waiting[0].future.result(ENOUGH_S)


def test_sweeps_of_visitors_take_turns_too(pool: Pool, clock: Clock) -> None:
    log: list[str] = []
    gate = pool.submit(hold := Batches(clock, 1), visitor=EVE)
    jobs = []
    for visitor, name in ((ANN, "ann"), (ANN, "ann"), (ANN, "ann"), (BOB, "bob")):
        work = Batches(clock, 1, log, name)
        work.step()
        jobs.append(pool.submit(work, background=True, visitor=visitor))
    hold.step()
    assert gate.future.result(ENOUGH_S) == "" and all(job.future.result(ENOUGH_S) for job in jobs)
    assert log == ["ann", "bob", "ann", "ann"]


def test_a_timing_does_not_count_what_it_was_paused_for_and_warms_up_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own: a run takes a second, cold (after a pause) ten; one look in three pauses for a minute."""
    now, cold, looks = [0.0], [True], [0]

    def run() -> None:
        now[0] += 10.0 if cold[0] else 1.0
        cold[0] = False

    def watch(stage: str, done: int, total: int) -> None:
        looks[0] += 1
        if looks[0] % 3 == 0:
            now[0] += 60.0
            cold[0] = True

    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(f"reflow_core.production.timing.time.{clock}", lambda: now[0])
    monkeypatch.setattr("reflow_core.production.timing.SLOW_S", 1e9)
    timing = race({"one": run}, watch)["one"]
    assert (timing.median, timing.p95) == (1.0, 1.0) and timing.rounds >= 7


def test_a_shared_sweep_goes_on_while_anybody_who_has_not_paused_it_looks(pool: Pool, clock: Clock) -> None:
    """One visitor's pause stopped it for all."""
    works: dict[Any, Batches] = {}

    class Asked:
        """A request that a test answers batch by batch."""

        def __init__(self, number: int) -> None:
            self.number = number
            works[self] = Batches(clock, 1, name=str(number))

        timed = False

        def key(self, library: Any) -> str:
            return f"no key of the store's: {self.number}"

        def answer(self, context: Context, watch: Watch) -> str:
            return works[self](context, watch)

    requests = [Asked(number) for number in range(3)]
    shared = Sweep(requests, pool, str)  # type: ignore[arg-type]
    ann, bob = shared.seen_by(ANN), shared.seen_by(BOB)
    ann.look()
    bob.look()
    ann.stop()
    assert (ann.running, bob.running) == (False, True)
    works[requests[0]].step()
    assert until(lambda: bob.look() > 0.3)
    assert ann.look() > 0.3 and ann.stopped, "what another visitor computes is seen"
    bob.stop()
    works[requests[1]].step()
    works[requests[2]].step()
    assert until(lambda: all(job.future.done() for job in bob._shared.waiting.values()))
    assert bob.look() < 1 and not bob.running
    ann.go_on()
    works[requests[2]].step()
    works[requests[1]].step()
    assert until(lambda: ann.look() == 1)
    assert bob.points == ann.points and len(bob.points) == 3


def test_a_visitor_is_an_address_and_in_it_a_browser() -> None:
    masked = "2|01020304|" + bytes(byte ^ mask for byte, mask in zip(b"tokentoken", bytes([1, 2, 3, 4] * 3))).hex()  # noqa: B905
    assert browser_of(f"{masked}|1700000000") == browser_of(f"2|00000000|{b'tokentoken'.hex()}|1700000000") != ""
    assert browser_of("") == browser_of("nonsense") == browser_of("2||00|1") == browser_of("2|zz|00|1") == ""
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:1::1")
    assert network_of("::ffff:10.0.0.7") == network_of("10.0.0.7") == "10.0.0.7" and network_of(None) is None


def test_what_goes_with_a_sweep_that_others_have_completed_does_not_rest_with_it(pool: Pool) -> None:
    """The page then offers no button to go on: the portraits of the signal stayed away for good."""
    request = Request(Spec(evaluation_images=16, calibration_images=16))
    sweep, also = (Sweep([request], pool, lambda answer: answer) for _ in range(2))
    sweep.stop()
    gather(sweep, also)
    assert also.stopped
    sweep._shared.keep(request, "known", preview=False)
    gather(sweep, also)
    assert not also.stopped
