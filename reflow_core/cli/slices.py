"""`slices`: what the overall accuracy hides, and the release gate: exit status 1 where it fails, 3 undecided."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.compute import context_of, points
from reflow_core.cli.options import add_spec, spec_of
from reflow_core.cli.printing import add_printing, print_findings
from reflow_core.lab.request import Request
from reflow_core.production import gate, slices

EXITS = {gate.PASSES: 0, gate.FAILS: 1, gate.UNDECIDED: 3}


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "slices", help="measure accuracy by slice and under corruption, with a release gate (exit status 1 or 3)"
    )
    add_spec(command)
    command.add_argument(
        "--columns", type=Path, help="a CSV with one row per test image, or with image numbers in a column 'image'"
    )
    command.add_argument(
        "--max-drop", type=float, default=0.01, help="the largest loss allowed overall, as a fraction (default: 0.01)"
    )
    command.add_argument(
        "--slice-drop", type=float, default=0.05, help="the largest loss allowed in any slice (default: 0.05)"
    )
    command.add_argument("--least", type=int, default=gate.LEAST, help="minimum slice size in images (default: 10)")
    command.add_argument(
        "--floors", default="", help="the minimum accuracy of single slices, as class/8:0.95,class/3:0.9"
    )
    command.add_argument(
        "--variant", "--arm", choices=("pruned", "repaired"), default="", help="(default: repaired, if it exists)"
    )
    command.add_argument("--corruptions", action="store_true", help="also every corruption at severities 1 to 5")
    add_printing(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compute and print; returns 0 where the gate passes, 1 where it fails, 3 where these images cannot decide."""
    spec = spec_of(options)
    limits = gate.Limits(options.max_drop, options.slice_drop, options.least, gate.floors(options.floors))
    with context_of(options) as context:
        diagnosis = Request(spec).answer(context)
        columns = slices.columns(diagnosis.spec, context.library.images(spec), options.columns)
    findings = {"slices": slices.finding(diagnosis, columns, limits, options.variant)}
    if options.corruptions:
        shifted = points(slices.shifted(spec), options)
        findings["corruptions"] = slices.shift_finding(spec, slices.shifts(shifted))
    print_findings(options, findings)
    return EXITS[findings["slices"].facts["gate"]]
