"""Calibration: how many images REFLOW needs, which ones, and how it should read them."""

from __future__ import annotations

import streamlit as st

from pages.ui import take_away
from pages.ui.binding import bound
from pages.ui.controls import controls
from pages.ui.findings import answer_place
from pages.ui.lab import lab
from pages.ui.panels import chart, table
from pages.ui.stage import errors_shown, require_local
from pages.ui.study import follow
from pages.ui.text import sentence
from reflow_core.diagnosis.fields import normalize, unused_fields
from reflow_core.diagnosis.point import Point
from reflow_core.lab.study import doubling, outcomes
from reflow_core.lab.sweep import Sweep
from reflow_core.present.figures.studies import saturating
from reflow_core.present.snippets import comparing
from reflow_core.repairs import repairs
from reflow_core.spec import CALIBRATION, Spec

VARIED: dict[str, tuple[str, list[dict[str, str | int | float]]]] = {
    "view": ("calibration_view", [{"calibration_view": view} for view in ("train", "eval")]),
    "statistics": ("statistics", [{"statistics": name} for name in ("population", "pooled", "batch_mean", "ema")]),
    "batch size": (
        "calibration_batch",
        [{"statistics": "pooled", "calibration_batch": size} for size in (16, 32, 64, 128, 256)],
    ),
    "class skew": ("calibration_skew", [{"calibration_skew": skew} for skew in (0.0, 0.5, 0.9, 1.0)]),
}

base = controls(without=(*CALIBRATION, "calibration_batch", "statistics"), own={"compare": tuple(VARIED)})
require_local(base)
if not repairs[base.repair].info.needs_data:
    st.info(f"Repair {base.repair!r} uses no calibration images; choose one that does, for example reflow.")
    st.stop()
answer = answer_place()
left, right = st.columns([3, 1])
with left:
    varied = st.segmented_control(
        "Compare",
        list(VARIED),
        default="view",
        required=True,
        help="Compare calibration views, statistics, batch sizes (for pooled statistics), or class skew (the share of "
        "images from one class).",
        key="compare",
        bind="query-params",
    )
with right:
    repeats = st.number_input(
        "Repeats",
        1,
        20,
        3,
        help="Number of seeds, each with its own calibration images.",
        key="repeats",
        bind=bound("repeats"),
    )
field, settings = VARIED[varied]
if (reason := unused_fields(base.replace(**settings[0])).get(field)) is not None:
    st.info(f"Comparing by {varied} shows only one line: {sentence(reason)}.")
with errors_shown():
    most = len(lab().context(base).library.images(base).train)


def spec_of(setting: dict[str, str | int | float], count: int, seed: int) -> Spec:
    """One point: nothing but the calibration changes."""
    return normalize(base.replace(calibration_images=count, seed=seed, **setting))


specs = [
    spec_of(setting, count, base.seed + repeat)
    for repeat in range(repeats)
    for count in doubling(min(most, 4096))
    for setting in settings
]
distinct = list(dict.fromkeys(specs))


def draw(study: Sweep[Point]) -> str | None:
    """Accuracy against the number of images, and where more of them stop helping."""
    rows = outcomes(study.points.values())
    repaired = rows[rows.repair == base.repair]
    if repaired.empty:
        return None  # the repair does not apply; `follow` says why below
    drawn = saturating(repaired, field)
    chart(drawn, "saturating", "Accuracy vs. calibration images", heading=False, captioned=False)
    table("Show data: calibration", repaired, "calibration-data")
    take_away.of_study("calibration", base, {"Python": comparing(distinct)})
    return drawn.message


follow(distinct, draw, answer=answer)
