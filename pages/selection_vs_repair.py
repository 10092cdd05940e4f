"""Selection vs repair: every way to choose weights with every way to repair, in one matrix."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.ui import take_away
from pages.ui.controls import controls
from pages.ui.findings import answer_place
from pages.ui.panels import chart, table
from pages.ui.stage import require_local
from pages.ui.study import OFFERED, choose_configurations, follow
from reflow_core.diagnosis.point import Point
from reflow_core.lab.study import configurations, outcomes, selection, split
from reflow_core.lab.sweep import Sweep
from reflow_core.numbers import whole_percent
from reflow_core.present.figures.studies import matrix, overlap, price, signal, split_message
from reflow_core.present.snippets import comparing

CRITERIA = ["magnitude", "wanda", "snip", "synflow", "fisher", "woodfisher"]
REPAIRS = ["none", "reflow", "statcorr", "least-squares"]

base = controls(without=("criterion", "update", "repair"), own=OFFERED)
require_local(base)
answer = answer_place()
chosen = configurations(base, *choose_configurations(CRITERIA, ["none"], REPAIRS))


def draw(study: Sweep[Point]) -> str:
    """The matrix and its split; then why: ratio beside accuracy, overlap of the masks, price."""
    rows = outcomes(study.points.values())
    listed = rows[rows.repair.isin([spec.repair for spec in chosen])]
    drawn = matrix(listed)
    chart(drawn, "matrix", "Accuracy by selection and repair", heading=False)
    answered = _show_shares(listed) or drawn.message
    left, right = st.columns(2, gap="medium")
    with left:
        chart(signal(rows), "signal", "Variance ratio by selection")
    with right:
        chart(price(listed), "price", "Cost by configuration")
    kept = overlap({selection(spec.to_dict()): point for spec, point in study.by_spec.items()})
    chart(kept, "overlap", "Mask overlap between selections")
    table("Show data: configurations", rows, "matrix-data")
    take_away.of_study("selection-vs-repair", base, {"Python": comparing(chosen)})
    return answered


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


follow(chosen, draw, answer=answer)
