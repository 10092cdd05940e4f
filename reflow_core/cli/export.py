"""`export`: the pruned and repaired network as a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reflow_core.cli.options import OPTIONS, add_spec, open_store, spec_of
from reflow_core.lab.work import take
from reflow_core.machine import prepare
from reflow_core.production.export import FORMATS
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library


def add(commands: Any) -> None:
    """Add the command."""
    one = commands.add_parser("export", help="the pruned and repaired network: safetensors, ONNX or a state dict")
    add_spec(one, tuple(OPTIONS))
    one.add_argument("--format", choices=tuple(FORMATS), default="safetensors", help="(default: %(default)s)")
    one.add_argument("--out", type=Path, required=True, help="the file to write")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prune, repair, measure, and write the network with its card."""
    spec = spec_of(options)
    prepare()
    with open_store() as store:
        options.out.write_bytes(take(spec, options.format, Library(EVERYTHING, device=options.device), store))
    print(options.out)
