"""Sweep: accuracy against sparsity for any configurations, and below it what each layer's signal does."""

from __future__ import annotations

import streamlit as st

from pages.ui import take_away
from pages.ui.controls import controls
from pages.ui.findings import answer_place
from pages.ui.panels import camera, table
from pages.ui.session import session
from pages.ui.stage import require_local
from pages.ui.study import CONFIGURATION, OFFERED, choose_configurations, follow, open_on_overview
from reflow_core.diagnosis.point import Point
from reflow_core.lab.study import GRID, configurations, outcomes, selection
from reflow_core.lab.sweep import Sweep
from reflow_core.present.figures.studies import curves, magnitude
from reflow_core.present.snippets import command, comparing

GAIN, GAIN_UNREPAIRED = "gain over magnitude", "gain over unrepaired magnitude"
VIEWS = ("accuracy", GAIN, GAIN_UNREPAIRED)
MEASURES = ("variance ratio", "CKA")

base = controls(without=CONFIGURATION, own={**OFFERED, "view": VIEWS, "measure": MEASURES})
require_local(base)
answer = answer_place()
listed = choose_configurations(["magnitude", "snip"], ["none"], ["none", "reflow"])
chosen = configurations(base, *listed)
specs = [spec.replace(sparsity=sparsity) for sparsity in GRID for spec in chosen]


def draw(study: Sweep[Point]) -> str:
    """Curves above, layers below; a click on a cell opens it on the Overview."""
    names = {f"{selection(spec.to_dict())} → {spec.repair}": spec for spec in chosen}
    left, middle, right = st.columns([3, 4, 2])
    with left:
        view = st.segmented_control(
            "Curves",
            VIEWS,
            default="accuracy",
            required=True,
            help="Plot accuracy, or the gain in points over magnitude pruning with the same repair or without repair; "
            "dashed lines update the weights.",
            key="view",
            bind="query-params",
        )
    with middle:
        name = st.selectbox(
            "Layers of", list(names), key="cells", help="The configuration whose layers the lower plot shows."
        )
    with right:
        measure = st.segmented_control(
            "Layers show",
            MEASURES,
            default="variance ratio",
            required=True,
            help="Variance ratio: orange where the signal is reduced, white at 1, blue where it is amplified. CKA: "
            "white where the layer is as in dense.",
            key="measure",
            bind="query-params",
        )
    spec = names[name]
    cells = [point for at, point in study.by_spec.items() if at.replace(sparsity=spec.sparsity) == spec]
    variant = "pruned" if spec.repair == "none" else "repaired"
    rows = outcomes(study.points.values())
    wanted = rows[rows.repair.isin([configuration.repair for configuration in chosen])]
    base_rows = None if view == VIEWS[0] else magnitude(rows, unrepaired=view == GAIN_UNREPAIRED)
    drawn = curves(wanted, cells, variant, measure, base_rows)
    session().shown.charts["Accuracy vs. sparsity, by method"] = drawn
    event = st.plotly_chart(
        drawn.figure,
        key="sweep-chart",
        alt=drawn.message,
        on_select="rerun",
        selection_mode="points",
        config=camera("sweep"),
    )
    picked = [mark["customdata"] for mark in event["selection"]["points"] if mark.get("customdata")]
    if picked:
        open_on_overview(spec.replace(sparsity=picked[0][0]), picked[0][1])
    st.caption("Bands: 95 % Wilson intervals. Click a cell to open it on the Overview.")
    table("Show data: configurations", drawn.table, "sweep-data")
    several = {name: ",".join(values) for name, values in zip(OFFERED, listed, strict=True)}
    several |= {"sparsities": ",".join(f"{at:g}" for at in GRID), "out": "sweep.csv"}
    code = {"Command line": command("sweep", base, several, ""), "Python": comparing(specs)}
    take_away.of_study("sweep", base, code)
    return drawn.message


follow(specs, draw, answer=answer, previews=True)
