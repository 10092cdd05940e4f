"""How many claims hold, and how a fine-tune went that one of them rests on."""

from __future__ import annotations

import plotly.graph_objects as go

from reflow_core.present.figures import COLORS, LEGEND_ABOVE, MARGIN, Chart
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


def learning(finding: Finding) -> Chart:
    """The loss of a fine-tune by epoch, on the images that train and on those held out; the epoch that is kept."""
    table = finding.tables["Learning curve"]
    lines = {"training": (COLORS["dense"], "dot", "circle"), "held out": (COLORS["repaired"], "solid", "square")}
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": table.epoch,
            "y": table[name],
            "line": {"color": ink, "dash": dash},
            "marker": {"symbol": symbol, "size": 7},
            "hovertemplate": "epoch %{x}: %{y:.3f}",
        }
        for name, (ink, dash, symbol) in lines.items()
    ]
    kept = table[table.kept].iloc[0]
    layout = {
        "height": 300,
        "margin": MARGIN,
        "uirevision": "keep",
        "legend": LEGEND_ABOVE,
        "xaxis": {"title": {"text": "epoch (0: REFLOW only)"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "cross-entropy (nats, log)"}, "type": "log"},
        "shapes": [{"type": "line", "x0": kept.epoch, "x1": kept.epoch, "yref": "paper", "y0": 0, "y1": 1}],
    }
    start, best = table["held out"].iloc[0], kept["held out"]
    message = (
        f"The loss on held-out calibration images goes from {start:.3f} to {best:.3f} at epoch {kept.epoch} of "
        f"{len(table) - 1}; that network is kept."
    )
    return Chart(go.Figure({"data": traces, "layout": layout}), message, table)
