"""A finding: the answer to a question of production, as one sentence and the tables behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reflow_core.spec import Spec

GATE_WORDS = {"passes": "Passed", "fails": "Failed", "undecided": "Undecided"}


@dataclass(frozen=True, eq=False, slots=True)
class Finding:
    """The answer to one question about one spec.

    `answer`: one sentence with numbers. `tables`: by title, plain values only. `facts`: single numbers and words that
    figures and tests read. `notes`: what the reader should know about it. `passed`: whether all limits and checks hold,
    None where there are none. `machine`: where it was timed, "" where it is the same everywhere.
    """

    spec: Spec
    answer: str
    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passed: bool | None = None
    machine: str = ""


def outcome(finding: Finding) -> str:
    """In a word what a gate says; of checks only that some have failed, for that they hold is no success yet."""
    if "gate" in finding.facts:
        return GATE_WORDS.get(finding.facts["gate"], "")
    return "Checks failed" if finding.passed is False else ""


def to_json(finding: Finding) -> dict[str, Any]:
    """The command line's contract: plain values, NaN never, tables as lists of rows."""
    return {
        "spec": finding.spec.to_dict(),
        "answer": finding.answer,
        "passed": finding.passed,
        "facts": dict(finding.facts),
        "tables": {title: rows(table) for title, table in finding.tables.items()},
        "notes": list(finding.notes),
        "machine": finding.machine,
    }


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows; None for what is missing."""
    return [dict(row) for row in json.loads(table.to_json(orient="records"))]
