"""A bounded memory that computes each thing once, whichever thread asks first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_thread = threading.local()


def waits_by(around: Callable[[], AbstractContextManager[None]]) -> None:
    """Around every wait of this thread for another's build, enter `around()`: a place to let others work meanwhile."""
    _thread.around = around


class lazy(Generic[T]):
    """A property that is computed once an instance, without a lock.

    `functools.cached_property` of Python 3.11 holds one lock over all instances while it computes for one: whoever
    pruned in stages would keep everybody else waiting.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value = instance.__dict__[self._name] = self._compute(instance)  # found there from now on
        return value


class Memo:
    """Least-recently-used values by key, at most `size` of them and of `most` bytes but for the last; thread-safe.

    Threads that ask for a key being built wait for that one build, and get its value even if it is evicted at once. A
    build that raises leaves nothing behind: whoever waited for it builds for itself.
    """

    def __init__(self, size: int, most: int | None = None, weigh: Callable[[Any], int] = lambda value: 0) -> None:
        self._size, self._most, self._weigh = size, most, weigh
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._building: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._values

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """The value under `key`, built by `build()` if it is not there."""
        while True:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]  # type: ignore[no-any-return]
                others = self._building.get(key)
                if others is None:
                    mine = self._building[key] = Future()
            if others is None:
                return self._build(key, mine, build)
            with getattr(_thread, "around", nullcontext)():
                failed = others.exception() is not None  # waits
            if not failed:
                return others.result()  # type: ignore[no-any-return]

    def _build(self, key: Hashable, promise: Future[Any], build: Callable[[], T]) -> T:
        try:
            value = build()
        except BaseException as error:
            with self._lock:
                del self._building[key]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._building[key]
            self._values[key] = value
            while len(self._values) > self._size or (len(self._values) > 1 and self._heavy()):
                self._values.popitem(last=False)
        promise.set_result(value)
        return value

    def _heavy(self) -> bool:
        return self._most is not None and sum(map(self._weigh, self._values.values())) > self._most
