"""`structured`, `hardware` and so on: every registered inspection is a command."""

from __future__ import annotations

import argparse
import functools
from typing import Any

from reflow_core.cli.compute import answer
from reflow_core.cli.options import add_again, add_spec, spec_of
from reflow_core.cli.printing import add_printing, print_findings
from reflow_core.lab.request import Request
from reflow_core.production.inspections import InspectionInfo, inspections

ELSEWHERE = ("quantize",)  # inspections whose command has options of its own, in a file of its own


def add(commands: Any) -> None:
    """Add a command per inspection."""
    for info in inspections:
        if info.name not in ELSEWHERE:
            add_inspection(commands, info).set_defaults(run=functools.partial(run, info.name))


def add_inspection(commands: Any, info: InspectionInfo) -> argparse.ArgumentParser:
    """The command of one inspection."""
    command: argparse.ArgumentParser = commands.add_parser(info.name, help=info.summary)
    add_spec(command)
    add_again(command)
    add_printing(command)
    return command


def run(name: str, options: argparse.Namespace) -> int:
    """Inspect and print; returns 1 where a check fails."""
    finding = answer(Request(spec_of(options), inspection=name), options)
    print_findings(options, {name: finding})
    return int(finding.passed is False)
