"""`report`: one HTML file with verdict, figures, tables, spec, versions and hashes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.options import OPTIONS, add_spec, open_store, spec_of
from reflow_core.lab.work import answer, inspect
from reflow_core.machine import prepare
from reflow_core.present.report import of_diagnosis, of_finding, written
from reflow_core.present.snippets import command, inspecting
from reflow_core.production.inspections import inspections
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library


def add(commands: Any) -> None:
    """Add the command."""
    one = commands.add_parser("report", help="a self-contained HTML report of a diagnosis or an inspection")
    add_spec(one, tuple(OPTIONS))
    one.add_argument("--inspection", choices=inspections.names(), metavar="NAME", help=", ".join(inspections.names()))
    one.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Diagnose or inspect, and write the report."""
    spec, name = spec_of(options), options.inspection
    prepare()
    library = Library(EVERYTHING, device=options.device)
    with open_store() as store:
        if name is None:
            report = of_diagnosis(answer(spec, library, store), library.identity(spec))
        else:
            code = {"Command line": command(name, spec), "Python": inspecting(name, spec)}
            found = inspect(name, spec, library, store)
            report = of_finding(found, inspections[name].info.title, library.identity(spec), code)
    options.out.write_text(written(report))
    print(options.out)
