"""`report`: one HTML file with the verdict, figures, tables, spec, versions and hashes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.compute import context_of
from reflow_core.cli.options import add_spec, spec_of
from reflow_core.lab.request import Request
from reflow_core.present.report import of_diagnosis, of_finding, written
from reflow_core.present.snippets import command, inspecting
from reflow_core.production.inspections import inspections


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="write a self-contained HTML report of a diagnosis or an inspection")
    add_spec(parser)
    names = inspections.names()
    parser.add_argument("--inspection", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Diagnose or inspect, and write the report."""
    name, request = options.inspection, Request(spec_of(options), inspection=options.inspection)
    with context_of(options) as context:
        result, content = request.answer(context), context.library.identity(request.spec)
    if name is None:
        report = of_diagnosis(result, content)
    else:
        code = {"Command line": command(name, result.spec), "Python": inspecting(name, result.spec)}
        report = of_finding(result, inspections[name].info.title, content, code, without=inspections[name].info.ignores)
    options.out.write_text(written(report))
    print(options.out)
