"""What the overall accuracy hides: slices beside the whole, confusion, and accuracy under corruption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from reflow_core.diagnosis.result import VARIANTS
from reflow_core.present.figures import COLORS, DASHES, LEGEND_ABOVE, MARKERS, NAMES_DOWNWARD, Chart

MOST_ROWS = 30
MOST_CLASSES = 25
INK = [[0, "rgba(0, 114, 178, 0)"], [1, "#0072B2"]]


def beside(table: pd.DataFrame, by: str, answer: str) -> Chart:
    """Accuracy of each slice by variant with its 95 % interval; dotted lines: all images. Of many slices, the worst."""
    parts, whole = table[table.by == by], table.iloc[0]
    variants = [variant for variant in VARIANTS if variant in table]
    if len(parts) > MOST_ROWS:
        parts = parts.sort_values(f"lost_{variants[-1]}", ascending=False).head(MOST_ROWS)
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": variant,
            "x": parts[variant],
            "y": [f"{name}  (n = {n})" for name, n in zip(parts.slice, parts.n, strict=True)],
            "marker": {"color": COLORS[variant], "symbol": MARKERS[variant], "size": 10},
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": parts[f"{variant}_high"] - parts[variant],
                "arrayminus": parts[variant] - parts[f"{variant}_low"],
                "thickness": 1,
                "color": COLORS[variant],
            },
            "hovertemplate": "%{y}: %{x:.1%}<extra>" + variant + "</extra>",
        }
        for variant in variants
    ]
    layout = {
        "height": 120 + 34 * len(parts),
        "margin": {"l": 8, "r": 8, "t": 34, "b": 46},
        "uirevision": "keep",
        "legend": LEGEND_ABOVE,
        "xaxis": {"title": {"text": "accuracy, 95 % interval"}, "tickformat": ".0%", "range": [-0.02, 1.02]},
        "yaxis": NAMES_DOWNWARD | {"title": {"text": by}},
        "shapes": [_upright(float(whole[variant]), COLORS[variant]) for variant in variants],
    }
    return Chart(go.Figure({"data": traces, "layout": layout}), f"{answer} Dotted line: all images.", parts)


def _upright(at: float, ink: str) -> dict[str, Any]:
    return {
        "type": "line",
        "yref": "paper",
        "x0": at,
        "x1": at,
        "y0": 0,
        "y1": 1,
        "line": {"color": ink, "width": 1, "dash": "dot"},
    }


def confused(counts: dict[str, NDArray[np.int64]], classes: tuple[str, ...]) -> Chart:
    """Confusion matrices of all variants, each row as shares of its true class. Of many classes, the worst."""
    shares = {variant: matrix / np.maximum(matrix.sum(1, keepdims=True), 1) for variant, matrix in counts.items()}
    last = list(shares)[-1]
    shown = np.argsort(np.diag(shares[last]))[:MOST_CLASSES] if len(classes) > MOST_CLASSES else np.arange(len(classes))
    shown = np.sort(shown)
    names = [classes[place] for place in shown]
    figure = make_subplots(1, len(shares), subplot_titles=list(shares), shared_yaxes=True, horizontal_spacing=0.03)
    for place, (variant, matrix) in enumerate(shares.items(), 1):
        figure.add_trace(
            go.Heatmap(
                z=matrix[np.ix_(shown, shown)],
                x=names,
                y=names,
                zmin=0,
                zmax=1,
                colorscale=INK,
                showscale=False,
                hovertemplate="true %{y}, predicted %{x}: %{z:.1%}<extra>" + variant + "</extra>",
            ),
            1,
            place,
        )
    figure.update_xaxes(type="category", title_text="predicted class", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_yaxes(title_text="true class", col=1)
    figure.update_layout(height=420, margin={"l": 60, "r": 8, "t": 40, "b": 46}, uirevision="keep")
    table = pd.DataFrame(
        [
            {"variant": variant, "true": classes[i], "predicted": classes[j], "images": int(matrix[i, j])}
            for variant, matrix in counts.items()
            for i, j in zip(*np.nonzero(matrix), strict=True)
        ]
    )
    return Chart(figure, _confused_message(counts[last], classes, last), table)


def _confused_message(counts: NDArray[np.int64], classes: tuple[str, ...], variant: str) -> str:
    mistakes = counts - np.diag(np.diag(counts))
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    if not mistakes.any():
        return f"The {variant} network makes no errors here."
    return (
        f"The {variant} network's most frequent error: {classes[true]} predicted as {classes[predicted]}, "
        f"{mistakes[true, predicted]} of {counts[true].sum()}. Each row sums to 1."
    )


def under_corruption(table: pd.DataFrame, answer: str) -> Chart:
    """Accuracy by severity, one panel per corruption, one line per variant; severity 0 is clean."""
    names = [name for name in dict.fromkeys(table.corruption) if name != "none"]
    clean = table[table.severity == 0]
    columns = min(3, max(1, len(names)))
    rows = -(-max(1, len(names)) // columns)
    figure = make_subplots(rows, columns, subplot_titles=names, shared_yaxes=True, vertical_spacing=0.16)
    for place, name in enumerate(names):
        part = pd.concat([clean, table[table.corruption == name]])
        for variant in (variant for variant in VARIANTS if variant in part):
            figure.add_trace(
                go.Scatter(
                    x=part.severity,
                    y=part[variant],
                    name=variant,
                    legendgroup=variant,
                    showlegend=place == 0,
                    mode="lines+markers",
                    line={"color": COLORS[variant], "dash": DASHES[variant]},
                    marker={"symbol": MARKERS[variant]},
                    hovertemplate="severity %{x}: %{y:.1%}",
                ),
                place // columns + 1,
                place % columns + 1,
            )
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%")
    figure.update_yaxes(title_text="accuracy", col=1)
    figure.update_xaxes(dtick=1, title_text="severity", row=rows)
    legend = {"orientation": "h", "y": 1.08, "yanchor": "bottom"}
    margin = {"l": 60, "r": 8, "t": 70, "b": 46}
    figure.update_layout(
        height=240 * rows + 120, legend=legend, margin=margin, uirevision="keep", hovermode="x unified"
    )
    return Chart(figure, answer, table)
