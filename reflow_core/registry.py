"""Registries: frozen rows, one type a kind, each with the function it describes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from reflow_core.errors import unknown


@dataclass(frozen=True, slots=True)
class Info:
    """What every registered method says of itself. Kinds that have more to say add fields.

    `summary`: what it does, and where ours differs from the paper. `paper`: where it comes from, "" if it is nobody's.
    """

    name: str
    title: str
    summary: str
    paper: str


I = TypeVar("I", bound=Info)  # noqa: E741
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Entry(Generic[I, F]):
    """An info row and its function."""

    info: I
    function: F


class Registry(Generic[I, F]):
    """Methods of one kind by name, in order of registration."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[I, F]] = {}

    def register(self, info: I) -> Callable[[F], F]:
        """Decorator that files a function under `info.name`. Raises ValueError on a duplicate name."""
        if info.name in self._entries:
            raise ValueError(f"{self.kind} {info.name!r} is registered twice")

        def add(function: F) -> F:
            self._entries[info.name] = Entry(info, function)
            return function

        return add

    def __getitem__(self, name: str) -> Entry[I, F]:
        """The entry called `name`. Raises ReflowError with the nearest match."""
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[I]:
        return (entry.info for entry in self._entries.values())

    def names(self) -> tuple[str, ...]:
        """All registered names."""
        return tuple(self._entries)


def import_siblings(package: str, path: list[str]) -> None:
    """Import every module of a package, so that a new file registers itself by being there."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
