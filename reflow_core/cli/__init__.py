"""The command line: the same specs and the same results, for scripts and servers; one file per command.

stdout carries the result and nothing else; progress and errors go to stderr. Exit 2 with one line for bad input.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from reflow_core.cli.printing import print_plain
from reflow_core.errors import ReflowError

EXAMPLES = """examples:
  python -m reflow_core diagnose --model resnet20-digits --sparsity 0.8
  python -m reflow_core diagnose --model vgg-digits --sparsity 0.9 --repair none --json
  python -m reflow_core diagnose --model resnet20-cifar10 --data FOLDER --checkpoint FILE.pth --json
  python -m reflow_core sweep --model resnet20-digits --sparsities 0:0.99:0.05 --out results.csv
  python -m reflow_core sweep --criteria magnitude,snip --repairs none,reflow --seeds 3 --out results.parquet
  python -m reflow_core download resnet20-cifar10
  python -m reflow_core train resnet20-digits --out FOLDER
  python -m reflow_core models
"""


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, like every other error of this command line."""

    def error(self, message: str) -> NoReturn:
        """Raises ReflowError, which `main` prints."""
        raise ReflowError(f"{message}; see 'python -m reflow_core --help'.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a gate that fails, 2 for bad input, 3 undecided."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        options = parser().parse_args(arguments)
        return int(options.run(options) or 0)
    except ReflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        text = f"error: {error.filename or 'file'}: {error.strerror or error}; check the path and its permissions."
        print_plain(text, sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; all results so far are kept.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options: every module of this package that has a command adds it."""
    top = Parser(
        prog="python -m reflow_core",
        description="Measure how pruning collapses a network's signal, and how REFLOW recovers it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="command", parser_class=Parser)
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "add"):
            module.add(commands)
    return top
