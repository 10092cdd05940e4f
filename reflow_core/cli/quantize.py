"""`quantize`: int8 after pruning, at one sparsity or at the edge of what pruning alone may cost."""

from __future__ import annotations

import argparse
from typing import Any

from reflow_core.cli.compute import points
from reflow_core.cli.inspect import add_inspection, inspected
from reflow_core.cli.options import spec_of
from reflow_core.cli.printing import told
from reflow_core.diagnosis.diagnose import settle
from reflow_core.errors import ReflowError
from reflow_core.lab.study import LIMITS, largest
from reflow_core.production.inspections import inspections

BEYOND = 3  # sparsities above the edge


def add(commands: Any) -> None:
    """Add the command."""
    one = add_inspection(commands, inspections["quantize"].info)
    text = "at the largest sparsity where pruning alone loses 5 points at most, and at three above it"
    one.add_argument("--edge", action="store_true", help=text)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Inspect and print. Raises ReflowError where pruning always costs more."""
    spec = spec_of(options)
    if not options.edge:
        told(options, {"quantize": inspected([("quantize", spec)], options)[0]})
        return
    edge = largest(points([settle(spec, repair="none", sparsity=at) for at in LIMITS], options).values())
    if edge is None:
        raise ReflowError(f"Pruning {100 * LIMITS[0]:.0f} % already loses more than 5 points; give a --sparsity.")
    beyond = [at for at in LIMITS if at >= edge][: 1 + BEYOND]
    found = inspected([("quantize", spec.replace(sparsity=at)) for at in beyond], options)
    told(options, {f"quantize at {at:g}": each for at, each in zip(beyond, found, strict=True)})
