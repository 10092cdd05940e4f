"""How findings are printed: sentences and tables for a terminal, or one JSON object."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TextIO

from reflow_core.errors import CONTROLS
from reflow_core.present.tables import as_text as text_of
from reflow_core.production.finding import Finding, to_json


def add_printing(command: argparse.ArgumentParser) -> None:
    """Give a command the choice between text and JSON."""
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def print_findings(options: argparse.Namespace, findings: Mapping[str, Finding]) -> None:
    """Print findings by name."""
    if options.json:
        print(json.dumps({name: to_json(finding) for name, finding in findings.items()}, allow_nan=False))
        return
    print_plain("\n\n".join(as_text(finding) for finding in findings.values()))


def print_plain(text: str, file: TextIO | None = None) -> None:
    """Print lines without the codes that a terminal obeys, which names of files and classes may hold."""
    print("\n".join(line.translate(CONTROLS) for line in text.split("\n")), file=file)


def as_text(finding: Finding) -> str:
    """A finding for a terminal: the answer, notes, tables."""
    lines = [finding.answer, *finding.notes, *([f"Measured on {finding.machine}."] if finding.machine else [])]
    for title, table in finding.tables.items():
        lines += ["", title, text_of(table)]
    return "\n".join(lines)
