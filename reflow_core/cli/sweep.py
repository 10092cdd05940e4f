"""`sweep`: many specs, one row each in a table."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from reflow_core.cli.compute import executor
from reflow_core.cli.options import FIELDS, add_spec, spec_of
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import verdict
from reflow_core.errors import ReflowError, unknown
from reflow_core.lab.study import configurations, selection
from reflow_core.numbers import decimal, finite, sparsity_of
from reflow_core.present.spreadsheet import csv_of
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import MAX_SPARSITY, Spec, parted

PLURALS = {"models": "model", "criteria": "criterion", "updates": "update", "repairs": "repair"}


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("sweep", help="diagnose at many sparsities; resumes where it stopped")
    add_spec(command, tuple(name for name in FIELDS if name != "sparsity"))
    for plural, single in PLURALS.items():
        command.add_argument(f"--{plural}", type=_listed, help=f"several, separated by commas; replaces --{single}")
    command.add_argument("--seeds", type=int, default=1, help="repeats, each with the next seed (default: 1)")
    command.add_argument("--cluster", help="a Dask cluster: tcp://HOST:PORT, or local (needs the package distributed)")
    command.add_argument("--sparsities", default="0:0.99:0.05", help="FROM:TO:STEP, or values separated by commas")
    command.add_argument("--out", type=Path, help="a .csv, .json, .parquet or .md file; CSV on stdout without it")
    command.set_defaults(run=run)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def run(options: argparse.Namespace) -> None:
    """Compute every spec and write the table."""
    specs = _specs(options)
    _check_out(options.out)
    rows: dict[Spec, dict[str, Any]] = {}
    with executor(options) as submit, tqdm(total=len(specs), unit="spec", file=sys.stderr) as bar:
        futures = {submit(spec): spec for spec in specs}
        for done in as_completed(futures):
            rows[futures[done]] = _row(futures[done], done)
            bar.update()
    table = pd.DataFrame([rows[spec] for spec in specs])
    if options.out is None:
        sys.stdout.write(csv_of(table))
    else:
        WRITERS[options.out.suffix](table, options.out)


def _specs(options: argparse.Namespace) -> list[Spec]:
    """Every model × criterion × update × repair × seed × sparsity, each spec once; N:M patterns have one sparsity."""
    base = spec_of(options)
    if options.seeds < 1:
        raise ReflowError(f"seeds={options.seeds} is out of range; choose 1 or more.")
    models = options.models or [base.model]
    if options.checkpoint is not None and options.models:
        raise ReflowError("--checkpoint works with one --model; with --models write ARCHITECTURE@FILE for each.")
    for model in models:
        Library(EVERYTHING).info(parted(model)[0])
    fields = {plural: field for plural, field in PLURALS.items() if field != "model"}
    chosen = [getattr(options, plural) or [getattr(base, field)] for plural, field in fields.items()]
    specs = [
        normalize(configuration, sparsity=sparsity)
        for model in models
        for seed in range(base.seed, base.seed + options.seeds)
        for sparsity in sparsities(options.sparsities)
        for configuration in configurations(base.replace(model=model, seed=seed), *chosen)
    ]
    return list(dict.fromkeys(specs))


def _row(spec: Spec, done: Future[Diagnosis]) -> dict[str, Any]:
    """The row of a diagnosis, or a row with the reason why there is none."""
    try:
        return flat_row(done.result())
    except ReflowError as error:
        return {**spec.to_dict(), "reason": str(error)}


def flat_row(diagnosis: Diagnosis) -> dict[str, Any]:
    """One diagnosis as a row of a table: the spec's fields, then the summaries of the variants, then seconds."""
    flat: dict[str, Any] = {**diagnosis.spec.to_dict(), "status": verdict(diagnosis).status}
    flat["reached"] = diagnosis.sparsity
    for name, outcome in diagnosis.outcomes().items():
        low, high = outcome.ci95 or (None, None)
        flat |= {f"{name}_accuracy": outcome.accuracy, f"{name}_low": low, f"{name}_high": high}
        flat |= {f"{name}_agreement": outcome.agreement, f"{name}_top_share": outcome.top_share, f"{name}_n": outcome.n}
        flat[f"{name}_fidelity"] = finite(outcome.fidelity)
    flat |= {f"{name}_last_ratio": diagnosis.last_ratio(name) for name in ("pruned", "repaired")}
    flat |= {"reason": diagnosis.reason, "seconds_select": diagnosis.seconds.get("prune")}
    return flat | {"seconds_repair": diagnosis.seconds.get("calibrate")}


def markdown(table: pd.DataFrame) -> str:
    """Flat rows as a table for a README: accuracies in % with their 95 % intervals, ratio and seconds."""
    lines = ["| selection | sparsity | repair | pruned | repaired | last ratio | seconds |", "|" + "---|" * 7]
    for flat in table.to_dict("records"):
        scores = [_interval(flat, variant) for variant in ("pruned", "repaired")]
        ratio, seconds = (_short(flat.get(name)) for name in ("pruned_last_ratio", "seconds_select"))
        cells = [selection(flat), f"{sparsity_of(flat['sparsity'])}", flat["repair"], *scores, ratio, seconds]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _interval(flat: dict[Any, Any], variant: str) -> str:
    score, low, high = (float(flat.get(f"{variant}_{what}", np.nan)) for what in ("accuracy", "low", "high"))
    return (
        "–" if np.isnan(score) else f"{decimal(100 * score, 1)} ({decimal(100 * low, 1)} to {decimal(100 * high, 1)})"
    )


def _short(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.2g}"


def _check_out(out: Path | None) -> None:
    """Raises ReflowError, before anything is computed, for a file that could not be written."""
    if out is None:
        return
    if out.suffix not in WRITERS:
        raise unknown("file type", out.suffix, WRITERS)
    if not out.parent.is_dir():
        raise ReflowError(f"There is no folder {str(out.parent)!r} for {out.name!r}; create it first.")


WRITERS: dict[str, Any] = {
    ".csv": lambda table, out: out.write_text(csv_of(table)),
    ".md": lambda table, out: out.write_text(markdown(table)),
    ".json": lambda table, out: table.to_json(out, orient="records"),
    ".parquet": lambda table, out: table.to_parquet(out, index=False),
}


def sparsities(text: str) -> list[float]:
    """ "0:0.99:0.05" (FROM:TO:STEP, including TO where a step reaches it) or "0.5,0.8" as fractions.

    Raises ReflowError for anything else.
    """
    try:
        if ":" not in text:
            return [float(part) for part in text.split(",")]
        start, stop, step = (float(part) for part in text.split(":"))
        if step <= 0 or not 0 <= start <= stop <= MAX_SPARSITY:
            raise ValueError
        count = int((stop - start) / step + 1e-9) + 1
        return [round(start + number * step, 6) for number in range(count)]
    except (ValueError, OverflowError):
        raise ReflowError(
            f"sparsities={text!r} is not FROM:TO:STEP within 0 to {MAX_SPARSITY}; try 0:0.99:0.05."
        ) from None
