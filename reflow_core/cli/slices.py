"""`slices`: what the aggregate hides, and the release gate: exit status 1 where it fails."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.compute import context_of, points
from reflow_core.cli.options import add_spec, spec_of
from reflow_core.cli.printing import add_printing, print_findings
from reflow_core.lab.request import Request
from reflow_core.production import slices


def add(commands: Any) -> None:
    """Add the command."""
    one = commands.add_parser("slices", help="accuracy by slice and under corruption, and a release gate (exit 1)")
    add_spec(one)
    one.add_argument("--columns", type=Path, help="a CSV with one row a test image, or a column 'image' of numbers")
    one.add_argument("--max-drop", type=float, default=0.01, help="fraction lost overall at most (default: 0.01)")
    one.add_argument("--slice-drop", type=float, default=0.05, help="lost by any slice at most (default: 0.05)")
    one.add_argument("--least", type=int, default=slices.LEAST, help="images of a slice that is judged (default: 10)")
    one.add_argument("--floors", default="", help="accuracy of single slices at least, as class/8:0.95,class/3:0.9")
    one.add_argument(
        "--variant", "--arm", choices=("pruned", "repaired"), default="", help="(default: repaired, if there is one)"
    )
    one.add_argument("--corruptions", action="store_true", help="every corruption at severities 1 to 5 too")
    add_printing(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compute and print; 1 where the gate fails."""
    spec = spec_of(options)
    limits = slices.Limits(options.max_drop, options.slice_drop, options.least, slices.floors(options.floors))
    with context_of(options) as context:
        diagnosis = Request(spec).answer(context)
        columns = slices.columns(diagnosis.spec, context.library.images(spec), options.columns)
    findings = {"slices": slices.finding(diagnosis, columns, limits, options.variant)}
    if options.corruptions:
        shifted = points(slices.shifted(spec), options)
        findings["corruptions"] = slices.shift_finding(spec, slices.shifts(shifted))
    print_findings(options, findings)
    return int(not findings["slices"].passed)
