"""What commands share: the spec from its options, the device, the store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reflow_core.cli.printing import print_plain
from reflow_core.diagnosis.fields import offered
from reflow_core.lab.store import Store
from reflow_core.machine import allow, devices
from reflow_core.present.snippets import flag
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import ABOUT, DEFAULTS, Spec, parted

FIELDS = tuple(ABOUT)


def add_spec(command: argparse.ArgumentParser, names: Sequence[str] = FIELDS) -> None:
    """Give a command options for these fields of the spec, for the device and for a checkpoint."""
    for name in names:
        about = ABOUT[name]
        aliases = [f"--{about.also.replace('_', '-')}"] if about.also else []
        choices = f" One of: {', '.join(offered(name))}." if offered(name) else ""
        text = f"{about.help}{choices} (default: {DEFAULTS[name]})".replace("%", "%%")
        command.add_argument(flag(name), *aliases, dest=name, default=DEFAULTS[name], help=text)
    command.add_argument("--device", choices=devices(), default=devices()[0], help="(default: %(default)s)")
    command.add_argument("--memory", help="what one calibration may hold of its images' activations, such as 4GB")
    command.add_argument("--checkpoint", type=Path, help="a state dict to load into the named model")


def add_again(command: argparse.ArgumentParser) -> None:
    """Give a command the option to measure again."""
    command.add_argument("--again", action="store_true", help="measure again instead of using the stored result")


def spec_of(options: argparse.Namespace) -> Spec:
    """The spec that the options describe, computed in the memory that they allow. Raises ReflowError."""
    allow(getattr(options, "memory", None))
    spec = Spec(**{name: getattr(options, name) for name in ABOUT if hasattr(options, name)})
    Library(EVERYTHING).info(parted(spec.model)[0])
    return spec if options.checkpoint is None else spec.replace(model=f"{spec.model}@{options.checkpoint.resolve()}")


@contextmanager
def open_store() -> Iterator[Store]:
    """The store; a problem with it is printed at once, or at the end if it came up meanwhile."""
    store = Store()
    if problem := store.problem:
        print_plain(f"note: {problem}", sys.stderr)
    yield store
    if store.problem not in (None, problem):
        print_plain(f"note: {store.problem}", sys.stderr)
