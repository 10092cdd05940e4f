"""Copy as code: the same numbers from the command line and from Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from reflow_core.spec import Spec

SHORT = {"calibration_images": "calibration", "evaluation_images": "evaluation"}
Value = str | float | int | bool


def flag(field: str) -> str:
    """The command line's option of a field of the spec."""
    return f"--{SHORT.get(field, field.replace('_', '-'))}"


def options(spec: Spec) -> list[str]:
    """What differs from the defaults as options of the command line, quoted for a shell."""
    return [f"{flag(name)} {shlex.quote(str(value))}" for name, value in spec.differences().items()]


def command(name: str, spec: Spec, also: Mapping[str, Value] | None = None) -> str:
    """A command with a spec; `also`: its own options by name, True for a flag without value."""
    own = [f"--{key}" if value is True else f"--{key} {shlex.quote(str(value))}" for key, value in (also or {}).items()]
    return " ".join([f"python -m reflow_core {name} --json", *options(spec), *own])


def constructed(spec: Spec) -> str:
    """A spec as Python: only what differs from the defaults."""
    return f"Spec({', '.join(f'{name}={value!r}' for name, value in spec.differences().items())})"


def diagnosing(spec: Spec) -> str:
    """Python that prints the accuracies of a diagnosis (agreement with dense where there are no labels)."""
    return "\n".join(
        [
            "from reflow_core import Library, Spec, diagnose",
            "",
            f"found = diagnose({constructed(spec)}, Library())",
            "for arm, summary in found.outcomes().items():",
            "    print(arm, summary.score)",
        ]
    )


def inspecting(name: str, spec: Spec) -> str:
    """Python that prints the answer of an inspection."""
    return "\n".join(
        [
            "from reflow_core import Library, Spec, inspect",
            "",
            f"found = inspect({name!r}, {constructed(spec)}, Library())",
            "print(found.answer)",
        ]
    )
