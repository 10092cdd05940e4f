"""`slices`: what the aggregate hides, and the release gate: exit status 1 where it fails."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.compute import points
from reflow_core.cli.options import OPTIONS, add_spec, open_store, spec_of
from reflow_core.cli.printing import add_printing, told
from reflow_core.lab.work import answer
from reflow_core.machine import prepare
from reflow_core.production import slices
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library


def add(commands: Any) -> None:
    """Add the command."""
    one = commands.add_parser("slices", help="accuracy by slice and under corruption, and a release gate (exit 1)")
    add_spec(one, tuple(OPTIONS))
    one.add_argument("--columns", type=Path, help="a CSV with one row a test image, or a column 'image' of numbers")
    one.add_argument("--max-drop", type=float, default=0.01, help="fraction lost overall at most (default: 0.01)")
    one.add_argument("--slice-drop", type=float, default=0.05, help="lost by any slice at most (default: 0.05)")
    one.add_argument("--least", type=int, default=slices.LEAST, help="images of a slice that is judged (default: 10)")
    one.add_argument("--floors", default="", help="accuracy of single slices at least, as class/8:0.95,class/3:0.9")
    one.add_argument("--arm", choices=("pruned", "repaired"), default="", help="(default: repaired, if there is one)")
    one.add_argument("--corruptions", action="store_true", help="every corruption at severities 1 to 5 too")
    add_printing(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compute and print; 1 where the gate fails."""
    spec, library = spec_of(options), Library(EVERYTHING, device=options.device)
    limits = slices.Limits(options.max_drop, options.slice_drop, options.least, slices.floors(options.floors))
    prepare()
    with open_store() as store:
        diagnosed = answer(spec, library, store)
    also = slices.columns(spec, library.images(spec), options.columns)
    found = {"slices": slices.finding(diagnosed, also, limits, options.arm)}
    if options.corruptions:
        found["corruptions"] = slices.shift_finding(spec, slices.shifts(points(slices.shifted(spec), options)))
    told(options, found)
    return int(not found["slices"].passed)
