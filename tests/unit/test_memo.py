"""The memory of shared values: each built once, whoever asks, and handed out even where it is evicted at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest

from reflow_core.memo import Memo, lazy
from tests.waiting import until


class Evicting(OrderedDict[object, object]):
    """Values of which "a" is evicted between a look and its use, wherever the lock allows it."""

    def __init__(self, memo: Memo) -> None:
        super().__init__()
        self.memo = memo

    def __contains__(self, key: object) -> bool:
        there = super().__contains__(key)
        if there and key == "a":
            other = threading.Thread(target=self.memo.get, args=("b", lambda: 2), daemon=True)
            other.start()
            other.join(0.2)  # with the lock held it cannot end, and goes on afterwards
        return there


def test_a_value_that_is_evicted_between_look_and_use_is_still_handed_out() -> None:
    memo = Memo(size=1)
    memo._values = Evicting(memo)
    asked, go, builds = threading.Event(), threading.Event(), []

    def build() -> int:
        asked.set()
        assert go.wait(60)
        builds.append(1)
        return 1

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(memo.get, "a", build)
        assert asked.wait(60)
        second = threads.submit(memo.get, "a", build)
        assert until(second.running)
        go.set()
        assert first.result(60) == second.result(60) == 1
    assert len(builds) == 1


def test_many_threads_build_each_value_once_however_few_are_kept() -> None:
    memo, builds = Memo(size=2), dict.fromkeys(range(40), 0)
    gate = threading.Barrier(8)

    def ask(number: int) -> int:
        def build() -> int:
            builds[number] += 1
            return number

        return memo.get(number, build)

    def visit(_: int) -> list[int]:
        values = []
        for number in builds:
            gate.wait(60)  # all ask for the same at once
            values.append(ask(number))
        return values

    with ThreadPoolExecutor(8) as threads:
        assert all(values == list(builds) for values in threads.map(visit, range(8)))
    assert set(builds.values()) == {1}


def test_a_build_that_raises_leaves_nothing_behind_and_the_next_builds_anew() -> None:
    memo = Memo(size=2)

    def broken() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        memo.get("a", broken)
    assert "a" not in memo and not memo._building
    assert memo.get("a", lambda: 3) == 3 == memo.get("a", broken)


def test_what_one_instance_computes_keeps_no_other_waiting() -> None:
    """functools.cached_property of Python 3.11 does: a visitor who pruned in stages kept everybody else waiting."""
    told = threading.Event()

    class Answer:
        def __init__(self, wait: bool) -> None:
            self.wait, self.asked = wait, 0

        @lazy
        def value(self) -> bool:
            """What is asked."""
            self.asked += 1
            return told.wait(20) if self.wait else True

    slow, quick = Answer(True), Answer(False)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: slow.value)
        until(lambda: slow.asked)
        assert pool.submit(lambda: quick.value).result(10)
        told.set()
        assert waiting.result(10) and slow.value and slow.asked == 1
