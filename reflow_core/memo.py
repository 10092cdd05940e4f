"""A bounded memory that computes each thing once, whichever thread asks first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """Least-recently-used values by key, at most `size` of them and of `most` bytes but for the last; thread-safe.

    Threads that ask for a key being built wait for that one building. A building that raises leaves nothing behind.
    """

    def __init__(self, size: int, most: int | None = None, weigh: Callable[[Any], int] = lambda value: 0) -> None:
        self._size, self._most, self._weigh = size, most, weigh
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._building: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """The value under `key`, built by `build()` if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]  # type: ignore[no-any-return]
            gate = self._building.setdefault(key, threading.Lock())
        with gate:
            if key in self._values:
                return self._values[key]  # type: ignore[no-any-return]
            value = build()
            self._keep(key, value)
            return value

    def _keep(self, key: Hashable, value: object) -> None:
        with self._lock:
            self._values[key] = value
            self._building.pop(key, None)
            while len(self._values) > self._size or (len(self._values) > 1 and self._heavy()):
                self._values.popitem(last=False)

    def _heavy(self) -> bool:
        return self._most is not None and sum(map(self._weigh, self._values.values())) > self._most
