"""How many claims hold."""

from __future__ import annotations

import plotly.graph_objects as go

from reflow_core.present.figures import Chart
from reflow_core.production.finding import Finding

INKS = {"holds": "#009E73", "does not hold": "#D55E00", "undecided": "#F0E442", "not measurable here": "#7F7F7F"}


def tally(finding: Finding) -> Chart:
    """One bar with one segment per verdict."""
    counts = finding.facts["counts"]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": verdict,
            "x": [counts.get(verdict, 0)],
            "y": ["claims"],
            "marker": {"color": ink},
            "text": [f"{counts.get(verdict, 0)} {verdict}"] if verdict in counts else [""],
            "insidetextanchor": "middle",
            "hovertemplate": "%{x} " + verdict + "<extra></extra>",
        }
        for verdict, ink in INKS.items()
    ]
    layout = {
        "height": 110,
        "barmode": "stack",
        "showlegend": False,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 34},
        "uirevision": "keep",
        "xaxis": {"dtick": 1, "title": {"text": "claims"}},
        "yaxis": {"showticklabels": False},
    }
    return Chart(go.Figure({"data": traces, "layout": layout}), finding.answer, finding.tables["Claims"])
