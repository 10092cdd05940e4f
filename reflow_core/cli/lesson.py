"""`lesson`: the lesson on paper, with its numbers computed on any network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.compute import context_of
from reflow_core.cli.options import add_spec, spec_of
from reflow_core.lab.request import Request
from reflow_core.present.lesson import STEPS, see
from reflow_core.present.lesson import spec_of as step_spec
from reflow_core.present.lesson.handout import handout

FIELDS = ("model", "data", "calibration_images", "evaluation_images", "seed")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("lesson", help="write the lesson's handout as a printable HTML file")
    add_spec(command, FIELDS)
    command.add_argument("--teacher", action="store_true", help="with answers and notes")
    command.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compute every step and write the handout."""
    base = spec_of(options)
    with context_of(options) as context:
        seen = [
            see(
                step,
                step_spec(step, base),
                lambda spec: Request(spec).answer(context),
                lambda name, spec: Request(spec, inspection=name).answer(context),
            )
            for step in STEPS
        ]
    options.out.write_text(handout(seen, options.teacher))
    print(options.out)
