"""`export`: the pruned and repaired network as a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.compute import context_of
from reflow_core.cli.options import add_spec, spec_of
from reflow_core.lab.request import network_file
from reflow_core.production.export import FORMATS


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "export", help="export the pruned and repaired network: safetensors, ONNX or a state dict"
    )
    add_spec(command)
    command.add_argument("--format", choices=tuple(FORMATS), default="safetensors", help="(default: %(default)s)")
    command.add_argument("--out", type=Path, required=True, help="the file to write")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prune, repair, measure, and write the network with its card."""
    spec = spec_of(options)
    with context_of(options) as context:
        options.out.write_bytes(network_file(spec, options.format, context))
    print(options.out)
