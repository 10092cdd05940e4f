"""`quantize`: int8 after pruning, at one sparsity, or from the largest at which pruning alone costs little."""

from __future__ import annotations

import argparse
from typing import Any

from reflow_core.cli.compute import answers, points
from reflow_core.cli.inspect import add_inspection
from reflow_core.cli.options import spec_of
from reflow_core.cli.printing import print_findings
from reflow_core.diagnosis.fields import normalize
from reflow_core.errors import ReflowError
from reflow_core.lab.request import Request
from reflow_core.lab.study import LIMITS, largest
from reflow_core.numbers import whole_percent
from reflow_core.production.inspections import inspections

BEYOND = 3  # sparsities above the edge


def add(commands: Any) -> None:
    """Add the command."""
    command = add_inspection(commands, inspections["quantize"].info)
    help_text = (
        "also quantize at the largest sparsity at which pruning alone loses at most 5 points, and at three above it"
    )
    command.add_argument("--edge", action="store_true", help=help_text)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Inspect and print. Raises ReflowError where pruning costs more at every sparsity."""
    spec = spec_of(options)
    if not options.edge:
        print_findings(options, {"quantize": answers([Request(spec, inspection="quantize")], options)[0]})
        return
    edge = largest(points([normalize(spec, repair="none", sparsity=at) for at in LIMITS], options).values())
    if edge is None:
        raise ReflowError(f"Pruning {whole_percent(LIMITS[0])} already loses more than 5 points; pass a --sparsity.")
    beyond = [at for at in LIMITS if at >= edge][: 1 + BEYOND]
    findings = answers([Request(spec.replace(sparsity=at), inspection="quantize") for at in beyond], options)
    print_findings(options, {f"quantize at {at:g}": finding for at, finding in zip(beyond, findings, strict=True)})
