"""What is left of a network after whole channels were cut out: widths, latency, and accuracy by size and by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reflow_core.diagnosis.point import Point
from reflow_core.numbers import decimal, percent, whole_percent
from reflow_core.present.figures import COLORS, LEGEND_ABOVE, MARGIN, Chart
from reflow_core.production.finding import Finding

KINDS = {"unstructured": ("#56B4E9", "circle"), "2:4": ("#CC79A7", "diamond"), "structured": ("#009E73", "square")}
BATCH = "64"


def widths(table: pd.DataFrame) -> Chart:
    """Channels of every layer before and after, in registration order."""
    changed = table[table.before != table.after]
    traces = [
        {
            "type": "bar",
            "x": table.layer,
            "y": table.before,
            "name": "before",
            "marker": {"color": "rgba(127,127,127,0.35)"},
            "hovertemplate": "%{x}: %{y} before<extra></extra>",
        },
        {
            "type": "bar",
            "x": table.layer,
            "y": table.after,
            "name": "after",
            "marker": {"color": KINDS["structured"][0]},
            "width": 0.5,
            "hovertemplate": "%{x}: %{y} after<extra></extra>",
        },
    ]
    layout = {
        "height": 340,
        "barmode": "overlay",
        "margin": {"l": 60, "r": 8, "t": 34, "b": 90},
        "uirevision": "keep",
        "legend": LEGEND_ABOVE,
        "xaxis": {"type": "category", "tickangle": -60, "tickfont": {"size": 10}},
        "yaxis": {"title": {"text": "output channels"}},
    }
    message = f"{len(changed)} of {len(table)} layers and norms are narrower than before."
    return Chart(go.Figure({"data": traces, "layout": layout}), message, table)


def latency(table: pd.DataFrame) -> Chart:
    """Milliseconds per pass by batch, the median up to the 95 % quantile, one bar per network."""
    inks = {
        "int8": "#CC79A7",
        "dense": COLORS["dense"],
        "zeros": KINDS["unstructured"][0],
        "structured": KINDS["structured"][0],
    }
    traces = [
        {
            "type": "bar",
            "name": str(name),
            "x": [f"batch {batch}" for batch in rows.batch],
            "y": rows.median_ms,
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": rows.p95_ms - rows.median_ms,
                "arrayminus": [0] * len(rows),
            },
            "marker": {"color": inks.get(str(name), "#7F7F7F")},
            "hovertemplate": "%{x}: %{y:.2f} ms<extra>" + str(name) + "</extra>",
        }
        for name, rows in table.groupby("network", sort=False)
    ]
    layout = {
        "height": 320,
        "margin": MARGIN,
        "uirevision": "keep",
        "legend": LEGEND_ABOVE,
        "yaxis": {"title": {"text": "ms per pass (log), up to the 95 % quantile"}, "type": "log"},
    }
    return Chart(go.Figure({"data": traces, "layout": layout}), "Median ms per pass; the networks run in turns.", table)


def traded(points: Sequence[Point], cuts: Sequence[Finding]) -> Chart:
    """Accuracy after repair against the weights that are left, and against measured time: three kinds of sparsity."""
    zeros = [cut.facts["zeros_speed"][BATCH] for cut in cuts]
    time_with_zeros = len(zeros) / sum(zeros) if zeros else float("nan")  # unknown until the first cut was timed
    rows: list[dict[str, Any]] = []
    for point in points:
        kind = "unstructured" if point.spec.pattern == "unstructured" else "2:4"
        left = {"left": 1 - point.sparsity, "time": time_with_zeros}
        rows.append({"kind": kind, "accuracy": point.score(point.last), **left})
    for cut in cuts:
        left = {"left": cut.facts["parameters"], "time": 1 / cut.facts["speed"][BATCH]}
        rows.append({"kind": "structured", "accuracy": cut.facts["accuracy"][cut.facts["variant"]], **left})
    table = pd.DataFrame(rows, columns=["kind", "accuracy", "left", "time"])
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, name in enumerate(("left", "time"), 1):
        for kind, group in table.groupby("kind", sort=False):
            ink, symbol = KINDS[str(kind)]
            rows_of_kind = group.sort_values(name)
            figure.add_trace(
                go.Scatter(
                    x=rows_of_kind[name],
                    y=rows_of_kind.accuracy,
                    name=str(kind),
                    legendgroup=str(kind),
                    showlegend=column == 1,
                    mode="lines+markers" if column == 1 or kind == "structured" else "markers",
                    line={"color": ink},
                    marker={"symbol": symbol, "size": 9},
                    hovertemplate="%{x:.2f} of dense: %{y:.1%}",
                ),
                1,
                column,
            )
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%")
    figure.update_yaxes(title_text="accuracy after repair", col=1)
    figure.update_xaxes(title_text="weights left", range=[-0.02, 1.05], col=1)
    figure.update_xaxes(title_text="time, batch 64", rangemode="tozero", col=2)
    legend = LEGEND_ABOVE
    figure.update_layout(height=380, legend=legend, margin=MARGIN, uirevision="keep")
    return Chart(figure, _traded_message(table), table)


def _traded_message(table: pd.DataFrame) -> str:
    cuts, loose = table[table.kind == "structured"], table[table.kind == "unstructured"]
    if cuts.empty or loose.empty:
        return "Some kinds of sparsity are not measured yet."
    near = cuts.loc[(cuts.left - 0.5).abs().idxmin()]
    rival = loose.loc[(loose.left - near.left).abs().idxmin()]
    return (
        f"With {whole_percent(near.left)} of the weights, cutting whole channels reaches {percent(near.accuracy)} "
        f"in {decimal(near.time, 2)} of the dense network's time, and pruning single weights "
        f"{percent(rival.accuracy)} in {decimal(rival.time, 2)} of it (zeros in dense kernels, timed together "
        "with the cuts)."
    )
