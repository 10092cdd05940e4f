"""`serve`: the dashboard, with the networks that ship."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from reflow_core.errors import ReflowError
from reflow_core.places import DASHBOARD, DISK_GB


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("serve", help="open the dashboard on this machine")
    command.add_argument("--port", type=int, default=8501, help="(default: %(default)s)")
    command.add_argument(
        "--address", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    command.add_argument("--data-root", type=Path, help="visitors may use images below this folder")
    command.add_argument("--allow-code", action="store_true", help="visitors may use code below that folder")
    command.add_argument("--on-demand", action="store_true", help="sweeps around a view start on request")
    command.add_argument("--memory", help="what one calibration may hold of its images' activations, such as 4GB")
    command.add_argument("--cluster", help="a Dask cluster that computes: tcp://HOST:PORT, or local")
    for name, default in DISK_GB.items():
        what = "kept free on the disk" if name == "free" else f"maximum of {name} on the disk"
        command.add_argument(f"--{name}-gb", type=float, default=default, help=f"GB {what} (default: %(default)g)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Become the server; it ends with Ctrl-C."""
    if options.allow_code and options.data_root is None:
        raise ReflowError("--allow-code opens code below --data-root; pass that folder too.")
    command = [sys.executable, "-m", "streamlit", "run", str(DASHBOARD)]
    command += ["--server.port", str(options.port), "--server.address", options.address, "--"]
    command += [] if options.data_root is None else ["--data-root", str(options.data_root.resolve())]
    command += [] if options.memory is None else ["--memory", options.memory]
    command += [] if options.cluster is None else ["--cluster", options.cluster]
    command += [f"--{name.replace('_', '-')}" for name in ("allow_code", "on_demand") if getattr(options, name)]
    command += [word for name in DISK_GB for word in (f"--{name}-gb", str(getattr(options, f"{name}_gb")))]
    os.execv(sys.executable, command)
