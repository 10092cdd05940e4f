"""Registries: frozen rows with capability flags, each with the function it describes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from reflow_core.errors import unknown

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Info:
    """One registered method.

    `needs_data`: reads calibration images. `reads`: fields of the spec that only some methods read. `needs_grad`:
    needs back-propagation. `per_sparsity`: chooses anew at every sparsity. `comparison`: which weights compete,
    "global", "layer" or "row" (those of one output). `changes_weights`: alters surviving weights. `on_device`: runs
    on an accelerator too, others on the CPU. `any_width`: works where layers are narrower than
    dense's. `timed`: measures this machine. `paper`: where it comes from.
    """

    name: str
    title: str
    summary: str
    paper: str
    needs_data: bool = False
    reads: tuple[str, ...] = ()
    needs_grad: bool = False
    per_sparsity: bool = False
    comparison: str = "global"
    changes_weights: bool = False
    on_device: bool = False
    any_width: bool = False
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Entry(Generic[F]):
    """An info row and its function."""

    info: Info
    function: F


class Registry(Generic[F]):
    """Methods of one kind by name, in order of registration."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[F]] = {}

    def register(self, info: Info) -> Callable[[F], F]:
        """Decorator that files a function under `info.name`. Raises ValueError on a duplicate name."""
        if info.name in self._entries:
            raise ValueError(f"{self.kind} {info.name!r} is registered twice")

        def add(function: F) -> F:
            self._entries[info.name] = Entry(info, function)
            return function

        return add

    def __getitem__(self, name: str) -> Entry[F]:
        """The entry called `name`. Raises ReflowError with the nearest match."""
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[Info]:
        return (entry.info for entry in self._entries.values())

    def names(self) -> tuple[str, ...]:
        """All registered names."""
        return tuple(self._entries)


def import_siblings(package: str, path: list[str]) -> None:
    """Import every module of a package, so that a new file registers itself by being there."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
