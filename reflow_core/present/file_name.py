"""What exported files are called: what was done to which network stands in the name, so that two never look alike."""

from __future__ import annotations

import re

from reflow_core.pruning.patterns import N_OF_M
from reflow_core.spec import DEFAULTS, Spec, parted

UNSAFE = re.compile(r"[^A-Za-z0-9.]+")
LONGEST = 60  # letters of a model's name


def file_name(spec: Spec, what: str) -> str:
    """Model, criterion, sparsity, repair and `what` it is, in letters that every file system takes.

    "resnet20-digits-magnitude-80pct-reflow-report.html". An N:M pattern stands for the sparsity that it fixes; files
    are named without their folders.
    """
    return "-".join([*beginning(spec), amount(spec), spec.repair, what])


def beginning(spec: Spec) -> list[str]:
    """What stands before the sparsity: model, criterion, and what else of the selection is not the usual."""
    architecture, checkpoint = parted(spec.model)
    model = "-".join(part.rpartition("/")[2] for part in (architecture, checkpoint) if part)
    others = {name: str(getattr(spec, name)) for name in ("update", "allocation", "stages")}
    shown = [value for name, value in others.items() if value != DEFAULTS[name]]
    return [plain(model)[:LONGEST], plain(spec.criterion), *map(plain, shown)]


def amount(spec: Spec) -> str:
    """How much is pruned: 80pct, or 2of4."""
    return spec.pattern.replace(":", "of") if spec.pattern in N_OF_M else f"{100 * spec.sparsity:.4g}pct"


def plain(text: str) -> str:
    """Letters, digits and full stops, with a hyphen for what lies between."""
    return UNSAFE.sub("-", text).strip("-.") or "unnamed"
