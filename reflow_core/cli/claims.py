"""`claims`: common claims about pruning in production, tested on one's own model and machine."""

from __future__ import annotations

import argparse
from typing import Any

from reflow_core.cli.compute import answers
from reflow_core.cli.options import add_again, add_spec, spec_of
from reflow_core.cli.printing import add_printing, print_findings
from reflow_core.lab.request import requests_for_claims
from reflow_core.production.claims import READS, counted


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("claims", help="test common claims about pruning in production on this machine")
    add_spec(command, READS)
    add_again(command)
    add_printing(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Test every claim and print the verdicts."""
    spec = spec_of(options)
    print_findings(options, {"claims": counted(spec, answers(requests_for_claims(spec), options, unit="claim"))})
