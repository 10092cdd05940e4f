"""Code to copy: the same numbers from the command line and from Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from reflow_core.spec import Spec

Value = str | float | int | bool


def flag(field: str) -> str:
    """The command-line option of a field of the spec."""
    return f"--{field.replace('_', '-')}"


def options(spec: Spec) -> list[str]:
    """What differs from the defaults, as command-line options quoted for a shell."""
    return [f"{flag(name)} {shlex.quote(str(value))}" for name, value in spec.differences().items()]


def command(name: str, spec: Spec, also: Mapping[str, Value] | None = None, flags: str = "--json") -> str:
    """A command with a spec. `also`: the command's own options by name; True for a flag without value, "" for none."""
    own_options = [
        f"--{key}" if value is True else f"--{key} {shlex.quote(str(value))}"
        for key, value in (also or {}).items()
        if value != ""
    ]
    return " ".join(filter(None, [f"python -m reflow_core {name}", flags, *options(spec), *own_options]))


def constructed(spec: Spec) -> str:
    """A spec as Python: only what differs from the defaults."""
    return f"Spec({', '.join(f'{name}={value!r}' for name, value in spec.differences().items())})"


def _code(*lines: str) -> str:
    return "\n".join(lines)


def diagnosing(spec: Spec) -> str:
    """Python that prints the accuracies of a diagnosis (agreement with dense where there are no labels)."""
    return _code(
        "from reflow_core import Library, Spec, diagnose",
        "",
        f"diagnosis = diagnose({constructed(spec)}, Library())",
        "for variant, outcome in diagnosis.outcomes().items():",
        "    print(variant, outcome.score)",
    )


def comparing(specs: Sequence[Spec]) -> str:
    """Python that prints the accuracies of every variant in a study, one line per spec."""
    spec_lines = [f"    {constructed(spec)}," for spec in specs]
    return _code(
        "from reflow_core import Library, Spec, diagnose",
        "",
        "library = Library()",
        "for spec in [",
        *spec_lines,
        "]:",
        "    outcomes = diagnose(spec, library).outcomes()",
        "    print(spec.differences(), {variant: outcome.score for variant, outcome in outcomes.items()})",
    )


def slicing(spec: Spec, drop: float, slice_drop: float, least: int, floors: str) -> str:
    """Python that prints the verdict of the release gate."""
    return _code(
        "from reflow_core import Library, Spec, diagnose",
        "from reflow_core.production import gate, slices",
        "",
        f"limits = gate.Limits({drop!r}, {slice_drop!r}, {least!r}, gate.floors({floors!r}))",
        f"spec, library = {constructed(spec)}, Library()",
        "columns = slices.columns(spec, library.images(spec))",
        "print(slices.finding(diagnose(spec, library), columns, limits).answer)",
    )


def ranking(spec: Spec, share: float) -> str:
    """Python that prints which layers lose the most accuracy when they alone lose a share of their weights."""
    return _code(
        "from reflow_core import Library, Spec, diagnose",
        "from reflow_core.diagnosis.experiment import trace_of",
        "from reflow_core.diagnosis.point import point",
        "from reflow_core.production import sensitivity",
        "",
        f"base, library = {constructed(spec)}, Library()",
        "layers = trace_of(base, library).layers",
        f"alone = sensitivity.alone(base, layers, [{share!r}])",
        "points = {spec: point(diagnose(spec, library)) for spec in alone}",
        f"print(sensitivity.finding(base, sensitivity.profile(points, layers), {share!r}).answer)",
    )


def claiming(spec: Spec, names: Sequence[str]) -> str:
    """Python that prints every claim with its measurement."""
    return _code(
        "from reflow_core import Library, Spec",
        "from reflow_core.production.claims import try_claim",
        "",
        "library = Library()",
        f"for name in {list(names)!r}:",
        f"    print(try_claim(name, {constructed(spec)}, library).answer)",
    )


def inspecting(name: str, spec: Spec) -> str:
    """Python that prints the answer of an inspection."""
    return _code(
        "from reflow_core import Library, Spec, inspect",
        "",
        f"finding = inspect({name!r}, {constructed(spec)}, Library())",
        "print(finding.answer)",
    )
