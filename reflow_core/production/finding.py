"""A finding: the answer to a question of production, as one sentence and the tables behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reflow_core.spec import Spec


@dataclass(frozen=True, eq=False, slots=True)
class Finding:
    """What was found about one spec.

    `answer`: one sentence with numbers. `tables`: by title, plain values only. `facts`: single numbers and words that
    figures and tests read. `notes`: what the person should know about it. `passed`: whether all
    that was asked for holds, None where nothing was. `machine`: where it was timed, "" where it is the same everywhere.
    """

    spec: Spec
    answer: str
    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passed: bool | None = None
    machine: str = ""


def to_json(found: Finding) -> dict[str, Any]:
    """The command line's contract: plain values, NaN never, tables as lists of rows."""
    return {
        "spec": found.spec.to_dict(),
        "answer": found.answer,
        "passed": found.passed,
        "facts": dict(found.facts),
        "tables": {title: rows(table) for title, table in found.tables.items()},
        "notes": list(found.notes),
        "machine": found.machine,
    }


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows; None for what is missing."""
    return [dict(row) for row in json.loads(table.to_json(orient="records"))]
