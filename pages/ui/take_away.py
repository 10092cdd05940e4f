"""Take away: the result as a report, tables, the network's file and code, in one box."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui.lab import lab
from pages.ui.panels import PICTURES, tabular
from pages.ui.session import NetworkFile, Shown, session
from pages.ui.text import literal, sentence
from reflow_core.diagnosis import result
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import ReflowError
from reflow_core.numbers import size
from reflow_core.present import report
from reflow_core.present.crumbs import crumbs
from reflow_core.present.file_name import file_name
from reflow_core.present.report import Report
from reflow_core.present.snippets import command, diagnosing
from reflow_core.production.export import FORMATS
from reflow_core.production.finding import Finding, rows, to_json
from reflow_core.spec import Spec

NETWORK_HELP = (
    "The pruned and repaired network as safetensors (with its card), onnx (BatchNorm folded, checked against "
    "torch), state-dict (for torch.load), or its card alone."
)


@dataclass(frozen=True)
class Goods:
    """What there is to take of a spec: the report, the plain values, the code by language, and the tables."""

    name: str
    spec: Spec
    report: Callable[[], Report]
    plain: Callable[[], dict[str, Any]]
    code: Mapping[str, str]
    tables: Callable[[], Mapping[str, pd.DataFrame]]


def of_diagnosis(diagnosis: Diagnosis) -> None:
    """Of a diagnosis; the network itself too."""
    pop_shown()  # its report draws its own figures
    goods = Goods(
        "diagnosis",
        diagnosis.spec,
        lambda: report.of_diagnosis(diagnosis, content),
        lambda: result.to_json(diagnosis),
        {"Command line": command("diagnose", diagnosis.spec), "Python": diagnosing(diagnosis.spec)},
        lambda: report.tables_of(diagnosis),
    )
    content = _content(diagnosis.spec)
    if box := _box(goods):
        _network(box, diagnosis.spec)


def of_finding(finding: Finding, name: str, code: Mapping[str, str]) -> None:
    """Of a finding, with the figures that the page has shown for it."""
    shown, content, title = pop_shown(), _content(finding.spec), name.replace("-", " ").capitalize()
    without = session().without
    _box(
        Goods(
            name,
            finding.spec,
            lambda: report.of_finding(finding, title, content, code, shown.charts, without),
            lambda: to_json(finding),
            code,
            lambda: finding.tables,
        )
    )


def of_study(name: str, spec: Spec, code: Mapping[str, str]) -> None:
    """Of a page that compares: what it has shown."""
    shown, content, title = pop_shown(), _content(spec), name.replace("-", " ").capitalize()
    view = crumbs(spec, session().without)
    answer = next((chart.message for chart in shown.charts.values()), "Nothing is measured yet.")
    _box(
        Goods(
            name,
            spec,
            lambda: Report(title, answer, spec, content, shown.charts, shown.tables, code=code, view=view),
            lambda: {"spec": spec.to_dict(), "tables": {title: rows(table) for title, table in shown.tables.items()}},
            code,
            lambda: shown.tables,
        )
    )


def _content(spec: Spec) -> str:
    """Hashes of network and images."""
    return lab().context(spec).library.identity(spec)


def _box(goods: Goods) -> DeltaGenerator | None:
    """The box, if it is open: downloads and code."""
    box = st.expander("Export and share", key=f"take-{goods.name}", on_change="rerun", icon=":material/output:")
    if not box.open:
        return None
    row = box.container(horizontal=True, vertical_alignment="bottom")
    row.download_button(
        "Report",
        lambda: report.written(goods.report()),
        file_name(goods.spec, f"{goods.name}.html"),
        "text/html",
        on_click="ignore",
        icon=":material/article:",
        help="One HTML file with verdict, figures, tables, spec and versions; it opens offline, prints, and reopens "
        "on the page Open a report.",
        key=f"report-{goods.name}",
    )
    row.download_button(
        "JSON",
        lambda: json.dumps(goods.plain(), indent=1),
        file_name(goods.spec, f"{goods.name}.json"),
        "application/json",
        on_click="ignore",
        icon=":material/data_object:",
        key=f"json-{goods.name}",
    )
    for kind in ("CSV", "Parquet"):
        row.download_button(
            f"Tables ({kind})",
            lambda kind=kind: zipped(goods.tables(), kind.lower()),  # type: ignore[misc]
            file_name(goods.spec, f"{goods.name}-{kind.lower()}.zip"),
            "application/zip",
            on_click="ignore",
            icon=":material/table:",
            key=f"{kind}-{goods.name}",
        )
    for language, text in goods.code.items():
        box.caption(f"The same numbers: {language}")
        box.code(text, language="python" if language == "Python" else "bash", wrap_lines=True)
    box.segmented_control(
        "Image format of saved figures",
        PICTURES,
        default=PICTURES[0],
        required=True,
        key=f"picture-{goods.name}",
        on_change=lambda: setattr(session(), "picture", st.session_state[f"picture-{goods.name}"]),
    )
    return box


def zipped(tables: Mapping[str, pd.DataFrame], kind: str) -> bytes:
    """Every table as a file of a kind, csv or parquet, in one zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for title, table in tables.items():
            archive.writestr(f"{title.lower().replace(' ', '-')}.{kind}", tabular(table, kind))
    return file.getvalue()


def _network(box: DeltaGenerator, spec: Spec) -> None:
    """The pruned and repaired network as a file, made on a click."""
    row = box.container(horizontal=True, vertical_alignment="bottom")
    kind = row.selectbox("Network format", list(FORMATS), help=NETWORK_HELP, key="network-kind", width=220)
    if row.button("Make the file", icon=":material/deployed_code:"):
        try:
            session().network_file = NetworkFile(spec, kind, lab().network_file(spec, kind))
        except ReflowError as error:
            box.error(sentence(error), icon=":material/error:")
    made = session().network_file
    if made is not None and (made.spec, made.kind) == (spec, kind):
        name, shown = file_name(spec, f"network{FORMATS[kind][0]}"), size(len(made.content))
        row.download_button(f"Save {literal(name)} ({shown})", made.content, name, on_click="ignore", type="primary")


def pop_shown() -> Shown:
    """What the page has shown since the last call; the collection starts afresh."""
    shown, session().shown = session().shown, Shown()
    return shown
