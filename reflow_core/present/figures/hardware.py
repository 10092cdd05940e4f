"""What runs faster: every form of a network beside dense, where a sparse kernel begins to pay off, and file sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from reflow_core.numbers import milliseconds, size, times, whole_percent
from reflow_core.present.figures import COLORS, LEGEND_ABOVE, MARGIN, NAMES_DOWNWARD, Chart
from reflow_core.production.finding import Finding
from reflow_core.production.inspections.hardware import crossover

INKS = {
    "zeros": "#56B4E9",
    "CSR": "#E69F00",
    "structured": "#009E73",
    "int8": "#CC79A7",
    "onnxruntime": "#8A7A00",
    "dense": COLORS["dense"],
}
STAGE_INKS, QUANTILES = ("#BBBBBB", "#66A5AD", "#999933"), "#AA3377"  # that stand for no network elsewhere
FEW = 20  # requests, of which a 95 % quantile says little
DASHES = ("dot", "dash", "solid")
SYMBOLS = ("circle", "square", "diamond")


def speeds(table: pd.DataFrame, answer: str) -> Chart:
    """How many times as fast each network is as the one it is compared with, by batch; line at 1: no gain."""
    shown = table[table.network != table.beside]
    traces = [
        {
            "type": "bar",
            "name": f"{name} / {rows.beside.iloc[0]}",
            "x": [f"batch {batch}" for batch in rows.batch],
            "y": rows.speed,
            "base": 0,
            "marker": {"color": INKS.get(str(name), "#7F7F7F")},
            "text": [f"{value:.2f}×" for value in rows.speed],
            "textposition": "outside",
            "customdata": rows.median_ms,
            "hovertemplate": "%{x}: %{y:.2f} times as fast, %{customdata:.2f} ms<extra>" + str(name) + "</extra>",
        }
        for name, rows in shown.groupby("network", sort=False)
    ]
    layout = {
        "height": 360,
        "margin": MARGIN,
        "uirevision": "keep",
        "legend": LEGEND_ABOVE,
        "yaxis": {"title": {"text": "times as fast"}, "range": [0, max(2.0, 1.15 * float(shown.speed.max()))]},
        "shapes": [_line_at_one()],
    }
    return Chart(go.Figure({"data": traces, "layout": layout}), answer, table)


def _line_at_one() -> dict[str, object]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": 1,
        "y1": 1,
        "line": {"width": 1.5, "color": "#888"},
    }


def crossing(kernel: pd.DataFrame) -> Chart:
    """A CSR kernel beside the dense one by sparsity, one line per batch; above 1 sparsity pays off."""
    traces, crossovers = [], []
    for place, (batch, rows) in enumerate(kernel.groupby("batch")):
        at = crossover(rows.sparsity.tolist(), rows.speed.tolist())
        crossovers.append(f"batch {batch}: " + ("never" if at is None else f"{whole_percent(at)}"))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"batch {batch}",
                "x": rows.sparsity,
                "y": rows.speed,
                "line": {"color": INKS["CSR"], "dash": DASHES[place % 3]},
                "marker": {"symbol": SYMBOLS[place % 3], "size": 8},
                "hovertemplate": "%{x:.0%}: %{y:.2f} times as fast",
            }
        )
    layout = {
        "height": 360,
        "margin": MARGIN,
        "uirevision": "keep",
        "hovermode": "x unified",
        "legend": LEGEND_ABOVE,
        "xaxis": {"title": {"text": "sparsity of the kernel"}, "tickformat": ".0%", "range": [0.48, 1.0]},
        "yaxis": {"title": {"text": "CSR speed relative to dense (log)"}, "type": "log"},
        "shapes": [_line_at_one()],
    }
    message = f"{kernel.layer.iloc[0]} alone is as fast in CSR as dense from: {', '.join(crossovers)}."
    return Chart(go.Figure({"data": traces, "layout": layout}), message, kernel)


def in_service(finding: Finding) -> Chart:
    """Milliseconds of a request, from the file to the answer: the mean by stage, the median and the 95 % quantile."""
    table, (_, kernels) = finding.tables["Requests"], finding.tables["Amdahl"].to_dict("records")
    rest = table.forward_ms - table.layers_ms.fillna(0)
    stages = {
        "decode and normalize": (table.read_ms, STAGE_INKS[0]),
        "layers replaced by CSR": (table.layers_ms.fillna(0), INKS["CSR"]),
        "rest of the network": (rest, STAGE_INKS[1]),
        "argmax": (table.answer_ms, STAGE_INKS[2]),
    }
    traces: list[dict[str, object]] = [
        {"type": "bar", "orientation": "h", "name": name, "y": table.network, "x": spent, "marker": {"color": ink}}
        | {"hovertemplate": "%{y}, " + name + ": %{x:.2f} ms on average<extra></extra>"}
        for name, (spent, ink) in stages.items()
    ]
    for quantile, symbol in (("p50", "line-ns"), ("p95", "diamond")):
        mark = {"symbol": symbol, "size": 13, "color": QUANTILES, "line": {"width": 3, "color": QUANTILES}}
        traces.append(
            {"type": "scatter", "mode": "markers", "name": f"{quantile} of all", "y": table.network, "marker": mark}
            | {"x": table[f"{quantile}_ms"], "hovertemplate": "%{y}, " + quantile + ": %{x:.2f} ms<extra></extra>"}
        )
    layout = {
        "height": 130 + 38 * len(table),
        "barmode": "stack",
        "margin": {"l": 8, "r": 8, "t": 56, "b": 46},
        "uirevision": "keep",
        "legend": LEGEND_ABOVE | {"traceorder": "normal"},
        "xaxis": {"title": {"text": "ms per request (bars: mean by stage)"}, "rangemode": "tozero"},
        "yaxis": NAMES_DOWNWARD,
    }
    return Chart(go.Figure({"data": traces, "layout": layout}), _service(table, kernels), table)


def _service(table: pd.DataFrame, kernels: Mapping[str, Any]) -> str:
    """What requests take, and what Amdahl leaves of a kernel's speed."""
    by = table.set_index("network")
    dense, csr, opaque = by.loc["dense"], by.loc["CSR"], by.index[by.layers_ms.isna()].tolist()
    few = " With so few requests, p95 is nearly the slowest request." if dense.requests < FEW else ""
    whole_only = f" For {' and '.join(opaque)}, only the whole network is timed." if opaque else ""
    return (
        f"Over {dense.requests} requests, from image file to prediction, dense takes {milliseconds(dense.p50_ms)} "
        f"(p50) and {milliseconds(dense.p95_ms)} (p95), CSR {milliseconds(csr.p50_ms)} and "
        f"{milliseconds(csr.p95_ms)}. The layers replaced by CSR take {whole_percent(kernels['share'])} of "
        f"dense's time, so kernels {times(kernels['speed'])} times as fast can make the whole "
        f"{times(kernels['bound'])} times as fast (Amdahl; measured {times(kernels['measured'])}), and infinitely "
        f"fast kernels {times(kernels['ceiling'])} times.{whole_only}{few}"
    )


def bytes_of(table: pd.DataFrame) -> Chart:
    """The bytes that the weights take in each form."""
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": table.form,
        "x": table.bytes / 1e6,
        "marker": {"color": [COLORS["dense"] if "dense" in form else COLORS["pruned"] for form in table.form]},
        "text": [f"{size(count)}" for count in table.bytes],
        "textposition": "auto",
        "hovertemplate": "%{y}: %{x:.3f} MB<extra></extra>",
    }
    layout = {
        "height": 90 + 34 * len(table),
        "margin": {"l": 8, "r": 8, "t": 8, "b": 46},
        "uirevision": "keep",
        "xaxis": {"title": {"text": "MB"}},
        "yaxis": NAMES_DOWNWARD,
    }
    by = table.set_index("form").bytes
    message = (
        f"Zeros save no space until they are encoded: zipped {whole_percent(by['pruned, zipped'] / by['dense'])} "
        f"of dense, as CSR {whole_percent(by['pruned, CSR'] / by['dense'])}, with a bit mask "
        f"{whole_percent(by['pruned, bit mask'] / by['dense'])}."
    )
    return Chart(go.Figure({"data": [trace], "layout": layout}), message, table)
