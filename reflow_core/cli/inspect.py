"""`structured`, `hardware` and whatever else is registered: every inspection is a command."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable
from typing import Any

from reflow_core.cli.options import OPTIONS, add_spec, open_store, spec_of
from reflow_core.cli.printing import add_printing, told
from reflow_core.lab.work import inspect
from reflow_core.machine import prepare
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspections
from reflow_core.production.inspections.claims import PREFIX
from reflow_core.registry import Info
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

ELSEWHERE = ("quantize",)  # commands with options of their own


def add(commands: Any) -> None:
    """Add the commands."""
    for info in inspections:
        if info.name not in ELSEWHERE and not info.name.startswith(PREFIX):
            add_inspection(commands, info).set_defaults(run=functools.partial(run, info.name))


def add_inspection(commands: Any, info: Info) -> argparse.ArgumentParser:
    """The command of one inspection."""
    one: argparse.ArgumentParser = commands.add_parser(info.name, help=info.summary)
    add_spec(one, tuple(OPTIONS))
    one.add_argument("--again", action="store_true", help="measure anew instead of taking what is kept")
    add_printing(one)
    return one


def run(name: str, options: argparse.Namespace) -> int:
    """Inspect and print; 1 where a check fails."""
    (found,) = inspected([(name, spec_of(options))], options)
    told(options, {name: found})
    return int(found.passed is False)


def inspected(asked: Iterable[tuple[str, Spec]], options: argparse.Namespace) -> list[Finding]:
    """The findings of inspections, (name, spec) each; what they share is loaded once. Raises ReflowError."""
    prepare()
    library = Library(EVERYTHING, device=options.device)
    with open_store() as store:
        return [inspect(name, spec, library, store, again=options.again) for name, spec in asked]
