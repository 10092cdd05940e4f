"""Slices and gate: what the overall accuracy hides, what a corruption does, and whether this may be released."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from pages.ui.binding import bound
from pages.ui.controls import controls
from pages.ui.findings import answer_place, show_answer, take_away
from pages.ui.lab import lab
from pages.ui.panels import chart, table
from pages.ui.stage import diagnosed, errors_shown
from pages.ui.study import follow
from pages.ui.text import literal, sentence
from pages.ui.uploader import uploader
from reflow_core.diagnosis.point import Point
from reflow_core.errors import ReflowError
from reflow_core.lab.sweep import Sweep
from reflow_core.present.figures import slices as pictures
from reflow_core.present.snippets import Value, slicing
from reflow_core.production import gate, slices
from reflow_core.production.columns import MOST_BYTES, strange_columns

spec = controls()
diagnosis = diagnosed(spec)
answer = answer_place()
with st.expander("Release limits and your own columns", icon=":material/rule:"):
    left, middle, right = st.columns(3)
    drop = left.number_input(
        "Maximum overall loss (points)",
        0.0,
        100.0,
        1.0,
        0.5,
        help="Loss of accuracy compared with dense.",
        key="drop",
        bind="query-params",
    )
    slice_drop = middle.number_input(
        "Maximum loss in any slice (points)",
        0.0,
        100.0,
        5.0,
        0.5,
        help="Compared with dense on the same images; set it before you look at the result.",
        key="slice_drop",
        bind="query-params",
    )
    least = right.number_input(
        "Minimum slice size (images)", 1, 10_000, gate.LEAST, help=("Smaller slices are "
            "shown but not tested."), key="least",
        bind=bound("least"),
    )  # fmt: skip
    floors = st.text_input(
        "Limits of single slices",
        placeholder="class/8:0.95, rarity/between:0.9",
        help="Minimum accuracy of single slices, as BY/SLICE:FRACTION separated by commas.",
        key="floors",
        bind="query-params",
    )
    file = uploader(
        "Columns (CSV)",
        ["csv"],
        help="One row per test image, in order or numbered from 0 in a column 'image'; numeric columns are sliced by "
        "quartile. Only your session reads it.",
        key="columns",
        max_upload_size=MOST_BYTES >> 20,
    )
wrong = st.empty()  # not in the box above, which may be closed
with errors_shown():
    own = None if file is None else lab().read_once(file, strange_columns)
    also = slices.columns(spec, lab().context(spec).library.images(spec), own)
    limits = gate.Limits(drop / 100, slice_drop / 100, int(least))
    try:
        finding = slices.finding(diagnosis, also, replace(limits, floors=gate.floors(floors)))
    except ReflowError as error:  # in what the person typed: the page stays, and says what it judges by instead
        wrong.error(f"{sentence(error)} Your limits are ignored.", icon=":material/error:")
        finding = slices.finding(diagnosis, also, limits)
with answer.container():
    show_answer(finding)
parts = finding.tables["Slices"]
kinds = [by for by in dict.fromkeys(parts.by) if by != "all"]
by = st.segmented_control(
    "Slice by",
    kinds,
    format_func=literal,
    default="class",
    required=True,
    help="rarity: thirds of the classes by number of images (see Long tail in the sidebar). confidence: the dense "
    "network's. brightness, contrast: of the image.",
    key="by",
)
chart(pictures.beside(parts, by, finding.answer), "slices", f"By {by}", heading=False)
matrices = pictures.confused(
    {variant: slices.confusion(diagnosis, variant) for variant in diagnosis.predictions}, diagnosis.classes
)
chart(matrices, "confusion", "Confusion matrices")
table("Show data: confusion", matrices.table, "confusion-data")
asked = drop / 100, slice_drop / 100, int(least), floors
judged: dict[str, Value] = dict(zip(("max-drop", "slice-drop", "least", "floors"), asked, strict=True))
take_away(finding, "slices", judged, slicing(spec, *asked))
st.subheader("Under corruption", anchor=False)


def draw(study: Sweep[Point]) -> None:
    """Accuracy by severity for every corruption."""
    rows = slices.shifts(study.by_spec)
    finding = slices.shift_finding(spec, rows)
    show_answer(finding)
    chart(pictures.under_corruption(rows, finding.answer), "corruptions", "Under corruption", heading=False)
    take_away(finding, "slices", {"corruptions": True})


follow(slices.shifted(spec.replace(corruption="none")), draw, "corruptions")
