"""The penultimate features as a map: one panel per variant, one color and shape per class."""

from __future__ import annotations

from typing import Any

from plotly.subplots import make_subplots

from reflow_core.present.figures import Chart
from reflow_core.production.finding import Finding

CLASS_COLORS = [
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8A100"),
    *("#56B4E9", "#8C564B", "#7F7F7F", "#6A3D9A", "#E69F00"),
]
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down")
REACH = 3.2  # standard deviations of dense that a panel shows, each way; what lies beyond is drawn on its edge


def look(group: int) -> tuple[str, str]:
    """Color and shape of a class; no two of the first fifty classes share both."""
    return CLASS_COLORS[group % len(CLASS_COLORS)], SHAPES[(group + group // len(CLASS_COLORS)) % len(SHAPES)]


def features(finding: Finding) -> Chart:
    """A portrait's map of the penultimate features, all panels on dense's scale."""
    table, classes = finding.tables["Map of features"], list(finding.facts["classes"])
    variants = list(dict.fromkeys(table.variant))
    figure = make_subplots(
        1, max(1, len(variants)), subplot_titles=variants or None, shared_yaxes=True, horizontal_spacing=0.03
    )
    in_legend: set[str] = set()
    for (variant, name), rows in table.groupby(["variant", "class"], sort=False):
        color, shape = look(classes.index(name))
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "x": rows.x.clip(-REACH, REACH),
            "y": rows.y.clip(-REACH, REACH),
            "name": str(name),
            "legendgroup": str(name),
            "showlegend": name not in in_legend,
            "marker": {"color": color, "symbol": shape, "size": 6, "opacity": 0.8},
            "hovertemplate": f"{name}<extra>{variant}</extra>",
        }
        figure.add_trace(trace, 1, variants.index(variant) + 1)
        in_legend.add(name)
    figure.update_layout(height=380, margin={"l": 8, "r": 8, "t": 34, "b": 8}, uirevision="keep")
    figure.update_xaxes(range=[-REACH - 0.2, REACH + 0.2], showticklabels=False, zeroline=False)
    figure.update_yaxes(range=[-REACH - 0.2, REACH + 0.2], showticklabels=False, zeroline=False)
    return Chart(figure, finding.answer, table)
