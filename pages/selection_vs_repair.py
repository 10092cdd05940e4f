"""Selection vs repair: every way to choose weights with every way to repair, in one matrix."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from pages.ui import take_away
from pages.ui.controls import controls
from pages.ui.findings import answer_place
from pages.ui.panels import chart, table
from pages.ui.stage import require_local
from pages.ui.study import OFFERED, choose_configurations, follow
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import Point
from reflow_core.lab.frontier import candidates, inapplicable, sparsities
from reflow_core.lab.study import configurations, outcomes, selection, split
from reflow_core.lab.sweep import Sweep
from reflow_core.numbers import sparsity_of, whole_percent
from reflow_core.present.figures.frontier import frontier
from reflow_core.present.figures.studies import matrix, overlap, signal, split_message
from reflow_core.present.snippets import comparing
from reflow_core.spec import ONE_SHOT, Spec

CRITERIA = ["magnitude", "wanda", "snip", "synflow", "fisher", "woodfisher"]
REPAIRS = ["none", "reflow", "statcorr", "least-squares"]

base = controls(without=("criterion", "update", "repair"), own=OFFERED)
require_local(base)
answer = answer_place()
listed = choose_configurations(CRITERIA, ["none"], REPAIRS)
chosen = configurations(base, *listed)
first = normalize(base, criterion=listed[0][0], update=listed[1][0], stages=ONE_SHOT)
further = candidates(first)
extended = st.toggle(
    f"Frontier: every repair after {selection(first.to_dict())} at {', '.join(map(sparsity_of, sparsities(first)))}",
    help=f"{len(further)} diagnoses in the background, those that fit weights or work in stages the slowest. Without "
    "them, the frontier has the repairs above.",
    key="frontier",
    bind="query-params",
)
specs = list(dict.fromkeys([*chosen, *(further if extended else [])]))


def draw(study: Sweep[Point]) -> str:
    """The matrix and its split; the frontier; then why: ratio beside accuracy, overlap of the masks."""
    cells = {spec: study.by_spec[spec] for spec in chosen if spec in study.by_spec}
    rows = outcomes(cells.values())
    answered = _draw_matrix(rows) if cells else ""
    alike = [point for spec, point in study.by_spec.items() if _selects_as_first(spec)]
    drawn = frontier(outcomes(alike), inapplicable(alike))
    chart(drawn, "repair-frontier", "Frontier of repairs: accuracy vs. seconds")
    if cells:
        _draw_signal_and_overlap(rows, cells)
    table("Show data: configurations", outcomes(study.points.values()), "matrix-data")
    take_away.of_study("selection-vs-repair", base, {"Python": comparing(specs)})
    return answered


def _selects_as_first(spec: Spec) -> bool:
    """Whether a spec selects weights as those of the frontier do."""
    return (spec.criterion, spec.update) == (first.criterion, first.update)


def _draw_matrix(rows: pd.DataFrame) -> str:
    """Accuracies and their split, in words."""
    shown = rows[rows.repair.isin([spec.repair for spec in chosen])]
    drawn = matrix(shown)
    chart(drawn, "matrix", "Accuracy by selection and repair", heading=False)
    return _show_shares(shown) or drawn.message


def _draw_signal_and_overlap(rows: pd.DataFrame, cells: Mapping[Spec, Point]) -> None:
    """What the selections do to the signal, and how much they differ."""
    left, right = st.columns(2, gap="medium")
    with left:
        chart(signal(rows), "signal", "Variance ratio by selection")
    with right:
        kept = overlap({selection(spec.to_dict()): point for spec, point in cells.items()})
        chart(kept, "overlap", "Mask overlap between selections")


def _show_shares(rows: pd.DataFrame) -> str:
    """The split in three numbers; returns it in words, "" while there is none."""
    try:
        shares = split(rows.pivot(index="selection", columns="repair", values="accuracy"))
    except ValueError:  # some are still to come
        return ""
    for place, (name, share) in zip(
        st.columns(3),
        (("Selection", shares.selection), ("Repair", shares.repair), ("Interaction", shares.interaction)),
        strict=True,
    ):
        place.metric(
            name, f"{whole_percent(share)}", help="Share of the total sum of squares over the configurations above."
        )
    return split_message(shares)


follow(specs, draw, answer=answer)
