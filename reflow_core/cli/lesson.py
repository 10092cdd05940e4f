"""`lesson`: the lesson on paper, its numbers computed on any network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.options import add_spec, open_store, spec_of
from reflow_core.lab.work import answer, inspect
from reflow_core.machine import prepare
from reflow_core.present.lesson import STEPS, see
from reflow_core.present.lesson import spec_of as step_spec
from reflow_core.present.lesson.handout import handout
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library

FIELDS = ("model", "data", "calibration_images", "evaluation_images", "seed")


def add(commands: Any) -> None:
    """Add the command."""
    one = commands.add_parser("lesson", help="the lesson's handout as an HTML file to print")
    add_spec(one, FIELDS)
    one.add_argument("--teacher", action="store_true", help="with answers and notes")
    one.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compute every step, and write."""
    base = spec_of(options)
    prepare()
    library = Library(EVERYTHING, device=options.device)
    with open_store() as store:
        seen = [
            see(
                step,
                step_spec(step, base),
                lambda spec: answer(spec, library, store),
                lambda name, spec: inspect(name, spec, library, store),
            )
            for step in STEPS
        ]
    options.out.write_text(handout(seen, options.teacher))
    print(options.out)
