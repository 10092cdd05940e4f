"""`diagnose`: one spec, one result."""

from __future__ import annotations

import argparse
import json
from typing import Any

from reflow_core.cli.compute import answer
from reflow_core.cli.options import add_spec, spec_of
from reflow_core.cli.printing import print_plain
from reflow_core.diagnosis.result import Diagnosis, to_json
from reflow_core.diagnosis.verdict import verdict
from reflow_core.lab.request import Request
from reflow_core.numbers import decimal, percent, ratio


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("diagnose", help="prune, measure, repair and measure again")
    add_spec(command)
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Diagnose and print."""
    diagnosis = answer(Request(spec_of(options)), options)
    print_plain(json.dumps(to_json(diagnosis), allow_nan=False) if options.json else as_text(diagnosis))


def as_text(diagnosis: Diagnosis) -> str:
    """A diagnosis for a terminal: verdict, evidence, accuracies, one row per layer."""
    judged = verdict(diagnosis)
    lines = [f"{judged.status.upper()}. {judged.headline}", *judged.evidence, ""]
    outcomes = diagnosis.outcomes() | ({} if diagnosis.control is None else {"control": diagnosis.control})
    for variant, summary in outcomes.items():
        interval = (
            "" if summary.ci95 is None else f"  95 % interval {percent(summary.ci95[0])} to {percent(summary.ci95[1])}"
        )
        lines.append(f"{variant:<9}{percent(summary.accuracy):>14}  n={summary.n}{interval}")
    lines += [f"No repair: {diagnosis.reason}"] if diagnosis.reason else [f"Repair: {diagnosis.repair_report}"]
    lines += [
        "",
        f"{'layer':<28}{'sparsity':>9}{'pruned':>10}{'repaired':>10}   variance ratio, n={diagnosis.probed} images",
    ]
    for layer in diagnosis.layers:
        sparsity = "" if layer.sparsity is None else f"{decimal(layer.sparsity, 2)}"
        lines.append(
            f"{layer.name:<28}{sparsity:>9}{_ratio(layer.variance_ratio('pruned'))}{_ratio(layer.variance_ratio('repaired'))}"
        )
    lines += [f"not measured: {name}: {reason}" for name, reason in diagnosis.unmeasured]
    return "\n".join([*lines, *(f"note: {note}" for note in diagnosis.notes)])


def _ratio(value: float | None) -> str:
    return f"{ratio(value)}"
