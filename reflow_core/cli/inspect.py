"""`structured`, `quantize`, `hardware`: every registered inspection is a command."""

from __future__ import annotations

import argparse
import functools
from typing import Any

from reflow_core.access import EVERYTHING
from reflow_core.cli.options import OPTIONS, add_spec, open_store, spec_of
from reflow_core.cli.printing import add_printing, told
from reflow_core.inspections import inspections
from reflow_core.library import Library
from reflow_core.machine import prepare
from reflow_core.work import inspect


def add(commands: Any) -> None:
    """Add the commands."""
    for info in inspections:
        one = commands.add_parser(info.name, help=info.summary)
        add_spec(one, tuple(OPTIONS))
        if info.timed:
            one.add_argument("--again", action="store_true", help="measure anew instead of what is kept")
        add_printing(one)
        one.set_defaults(run=functools.partial(run, info.name))


def run(name: str, options: argparse.Namespace) -> int:
    """Compute and print; 1 where a check fails."""
    spec = spec_of(options)
    prepare()
    with open_store() as store:
        found = inspect(
            name, spec, Library(EVERYTHING, device=options.device), store, again=getattr(options, "again", False)
        )
    told(options, {name: found})
    return int(found.passed is False)
