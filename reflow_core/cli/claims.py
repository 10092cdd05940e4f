"""`claims`: what is said about pruning in production, tested on one's own model and machine."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tqdm import tqdm

from reflow_core.cli.inspect import inspected
from reflow_core.cli.options import add_spec, spec_of
from reflow_core.cli.printing import add_printing, told
from reflow_core.lab.study import claimed
from reflow_core.production.inspections.claims import names

GIVEN = ("model", "data", "calibration_images", "calibration_view", "evaluation_images", "seed")


def add(commands: Any) -> None:
    """Add the command."""
    one = commands.add_parser("claims", help="what is said about pruning in production, tested here")
    add_spec(one, GIVEN)
    one.add_argument("--again", action="store_true", help="measure anew instead of taking what is kept")
    add_printing(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Test every claim and print."""
    spec = spec_of(options)
    asked = tqdm([(name, spec) for name in names()], unit="claim", file=sys.stderr)
    told(options, {"claims": claimed(spec, inspected(asked, options))})
