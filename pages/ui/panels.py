"""Panels below the scope, each a picture, its message, and the data behind it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from pages.ui.lab import lab
from pages.ui.session import session
from pages.ui.styles import style
from pages.ui.tables import show_table
from pages.ui.text import literal
from reflow_core import numbers
from reflow_core.diagnosis.calibration import evaluation
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import AMPLIFIED, WEAK_SIGNAL
from reflow_core.numbers import whole_percent
from reflow_core.present.figures import Chart
from reflow_core.present.figures.layers import SIMILARITIES, channels, knowledge
from reflow_core.present.figures.learning import of_training
from reflow_core.present.file_name import file_name
from reflow_core.present.spreadsheet import csv_of
from reflow_core.repairs import repairs

STRIP = 14
SHOW = "Show data: "  # before a table's name
TOOLS = ("zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "select2d", "lasso2d")  # a drag zooms, too
PICTURES = ("png", "svg")


def chart(drawn: Chart, key: str, title: str, heading: bool = True, captioned: bool = True) -> None:
    """A figure with its message in words, under its title where `heading`; a report titles it in any case.

    `captioned`: whether the message stands below it, where it is not the page's answer.
    """
    if heading:
        st.subheader(literal(title), anchor=False)
    session().shown.charts[title] = drawn
    st.plotly_chart(drawn.figure, key=key, alt=drawn.message, config=camera(key))
    if captioned:
        st.caption(literal(drawn.message))


def called(what: str) -> str:
    """What a file of this page is called."""
    spec = session().named
    return what if spec is None else file_name(spec, what)


def camera(name: str) -> dict[str, object]:
    """Plotly's own settings: what the camera above a figure saves."""
    return {
        "displaylogo": False,
        "modeBarButtonsToRemove": list(TOOLS),
        "toImageButtonOptions": {"format": session().picture, "filename": called(name), "scale": 2},
    }


def table(label: str, frame: pd.DataFrame, key: str) -> None:
    """The data of a panel, sent only once it is opened."""
    session().shown.tables[label.removeprefix(SHOW).capitalize()] = frame
    box = st.expander(literal(label), key=key, on_change="rerun", icon=":material/table:")
    if box.open:
        show_table(frame, box, width="stretch")
        row = box.container(horizontal=True)
        for kind, mime in (("csv", "text/csv"), ("parquet", "application/vnd.apache.parquet")):
            name, content = ("CSV" if kind == "csv" else "Parquet"), tabular(frame, kind)
            row.download_button(name, content, called(f"{key}.{kind}"), mime, on_click="ignore", key=f"{key}-{kind}")


def tables(frames: Mapping[str, pd.DataFrame], name: str) -> None:
    """Every table by its title. `name`: what they belong to, unique on the page."""
    for title, frame in frames.items():
        table(f"{SHOW}{title.lower()}", frame, f"{name}-{title.lower().replace(' ', '-')}")


def tabular(frame: pd.DataFrame, kind: str) -> bytes:
    """A table as csv or parquet."""
    if kind == "csv":
        return csv_of(frame).encode()
    mixed = [name for name in frame if frame[name].map(type).nunique() > 1 and frame[name].dtype == object]
    file = io.BytesIO()
    frame.astype(dict.fromkeys(mixed, str)).rename(columns=str).to_parquet(file, index=False)
    return file.getvalue()


def repair_caption(diagnosis: Diagnosis) -> None:
    """What the repair changed, and what selection and repair cost."""
    seconds = diagnosis.seconds
    sentences = [f"Selection: {numbers.seconds(seconds['prune'])}."] if "prune" in seconds else []
    if diagnosis.repair_report is not None:
        title = repairs[diagnosis.spec.repair].info.title
        report = literal(diagnosis.repair_report)
        sentences.insert(0, f"**Changed by {title}:** {report} {numbers.seconds(seconds.get('calibrate', 0))}.")
    st.caption(" ".join(sentences))
    for heading, drawn in of_training(diagnosis).items():
        with st.expander(heading, icon=":material/show_chart:"):
            chart(drawn, "learning", heading, heading=False)


def layers(diagnosis: Diagnosis, layer: str | None) -> None:
    """How similar every layer still is to the dense network, and one layer in detail."""
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Layer similarity to dense", anchor=False)
        st.caption(similarity_matters(diagnosis))
        similarity = st.segmented_control(
            "Similarity",
            list(SIMILARITIES),
            default=next(iter(SIMILARITIES)),
            required=True,
            help="CKA compares the images' similarities at any scale, cosine the values; the ε floor is σ²/(σ²+ε), "
            "the share of unit variance that a norm can restore.",
            key="similarity",
            bind="query-params",
            label_visibility="collapsed",
        )
        known = knowledge(diagnosis, layer, similarity)
        chart(known, "knowledge", "Layer similarity to dense", heading=False)
        table("Show data: layers", known.table, "layers-data")
    with right:
        st.subheader("Channels of one layer", anchor=False)
        st.caption(
            "The layer chosen here, or by a click on a panel above, is marked in every panel. auto: the first "
            f"layer below {WEAK_SIGNAL:g} of dense's variance, else the weakest."
        )
        choose_layer(diagnosis, layer)
        if layer is not None:
            detail = channels(diagnosis, next(row for row in diagnosis.layers if row.name == layer))
            chart(detail, "channels", "Channels of one layer", heading=False)
            table("Show data: channels", detail.table, "channels-data")


def similarity_matters(diagnosis: Diagnosis) -> str:
    """Why similarity is shown beside the variance ratios."""
    amplified = f"a ratio above {AMPLIFIED:g} is not a sign of health"
    if diagnosis.repaired is not None and diagnosis.spec.repair == "reflow":
        ratios = f"After REFLOW, a variance ratio near 1 is true by construction, and {amplified}."
    else:
        ratios = f"A variance ratio near 1 does not show that the content is preserved, and {amplified}."
    return f"{ratios} Similarity to the dense network is independent evidence."


def choose_layer(diagnosis: Diagnosis, layer: str | None) -> None:
    """The native twin of a click on a layer; `layer`: the one that "auto" means."""
    st.selectbox(
        "Layer",
        ["auto", *(row.name for row in diagnosis.layers)],
        help=f"auto: the first layer below {WEAK_SIGNAL:g} of dense's variance, else the weakest; shown: "
        f"{literal(layer)}.",
        key="layer",
        bind="query-params",
        label_visibility="collapsed",
    )


def strip(diagnosis: Diagnosis) -> None:
    """The first evaluation images with the predictions of all variants; wrong ones marked."""
    st.subheader(f"Sample predictions: {', '.join(diagnosis.predictions)}", anchor=False)
    spec = diagnosis.spec
    images = evaluation(spec, lab().context(spec).library.images(spec))
    cells = [_cell(diagnosis, number, images.png(number)) for number in range(min(STRIP, len(images)))]
    st.html(style("strip") + f'<div class="strip">{"".join(cells)}</div>')
    variants = ", ".join(f"{variant[0].upper()}: {variant}" for variant in diagnosis.predictions)
    truth = "✗: wrong" if diagnosis.labels is not None else "Without labels, no errors are marked"
    st.caption(f"{variants}; percentages are confidences. {truth}.")


def _cell(diagnosis: Diagnosis, number: int, png: bytes) -> str:
    truth = None if diagnosis.labels is None else int(diagnosis.labels[number])
    lines = []
    for variant, own in diagnosis.predictions.items():
        predicted = int(own.predicted[number])
        wrong = ' class="wrong"' if truth is not None and predicted != truth else ""
        name = html.escape(diagnosis.classes[predicted])
        mark = " ✗" if wrong else ""
        share = whole_percent(float(own.confidence[number]))
        lines.append(f"<div><b>{variant[0].upper()}</b> <span{wrong}>{name}{mark}</span> {share}</div>")
    alt = "image without label" if truth is None else f"an image of class {html.escape(diagnosis.classes[truth])}"
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<figure><img alt="{alt}" src="{source}">{"".join(lines)}</figure>'
