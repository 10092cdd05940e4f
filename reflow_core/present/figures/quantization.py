"""int8 after pruning: losses alone and together, error by layer, and losses by sparsity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from reflow_core.numbers import signed_points, whole_percent
from reflow_core.present.figures import COLORS, LEGEND_ABOVE, MARGIN, NAMES_DOWNWARD, Chart
from reflow_core.production.finding import Finding
from reflow_core.production.inspections.quantize import both_shown, shown

INT8 = "#CC79A7"


def losses(finding: Finding) -> Chart:
    """Points lost against dense float32: each step alone, their sum, both together, and with the repair in between.

    Both together twice: with the activation ranges of the dense network, and with ranges measured on the pruned one.
    """
    loss, variant = finding.facts["loss"], finding.facts["variant"]
    bars = {
        "pruned": (loss["pruned_float32"], COLORS["pruned"]),
        "int8": (loss["dense_int8"], INT8),
        "sum of both": (finding.facts["sum"], "rgba(127,127,127,0.4)"),
        "pruned + int8, dense ranges": (loss["pruned_int8_dense_ranges"], COLORS["pruned"]),
        "pruned + int8, own ranges": (loss["pruned_int8"], COLORS["pruned"]),
    }
    if variant == "repaired":
        bars["pruned + repair"] = loss["repaired_float32"], COLORS["repaired"]
        bars["pruned + repair + int8"] = loss["repaired_int8"], COLORS["repaired"]
    patterns = ["/" if "int8" in name else "" for name in bars]
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": list(bars),
        "x": [100 * value for value, _ in bars.values()],
        "marker": {"color": [ink for _, ink in bars.values()], "pattern": {"shape": patterns}},
        "text": [both_shown(loss) if name == "sum of both" else shown(value) for name, (value, _) in bars.items()],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{y}: %{text} points lost<extra></extra>",
    }
    layout = {
        "height": 90 + 38 * len(bars),
        "margin": {"l": 8, "r": 40, "t": 8, "b": 46},
        "uirevision": "keep",
        "xaxis": {"title": {"text": "points of accuracy lost"}, "rangemode": "tozero"},
        "yaxis": NAMES_DOWNWARD,
    }
    return Chart(go.Figure({"data": [trace], "layout": layout}), finding.answer, finding.tables["Losses"])


def errors(table: pd.DataFrame) -> Chart:
    """Signal-to-quantization-noise ratio of each layer's output in forward order; 6 dB are one bit."""
    places = list(range(1, len(table) + 1))
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": places,
        "y": table.sqnr_db,
        "text": table.layer,
        "line": {"color": INT8},
        "marker": {"size": 8, "symbol": "diamond"},
        "hovertemplate": "%{text}: %{y:.1f} dB<extra></extra>",
    }
    layout = {
        "height": 320,
        "margin": {"l": 60, "r": 8, "t": 8, "b": 46},
        "uirevision": "keep",
        "xaxis": {"title": {"text": "layer, first to last"}},
        "yaxis": {"title": {"text": "signal-to-quantization-noise ratio (dB)"}, "rangemode": "tozero"},
    }
    worst = table.loc[table.sqnr_db.idxmin()]
    message = (
        f"The noisiest layer is {worst.layer} with {worst.sqnr_db:.0f} dB; {20 * math.log10(2):.0f} dB correspond "
        "to one bit."
    )
    return Chart(go.Figure({"data": [trace], "layout": layout}), message, table)


def along(findings: Sequence[Finding], limit: float) -> Chart:
    """Points lost by sparsity: pruned, pruned + int8, and both with the repair. `limit`: see the message."""
    rows = [
        {"sparsity": finding.spec.sparsity, "together": finding.facts["together"], "sum": finding.facts["sum"]}
        | dict(finding.facts["loss"])
        for finding in sorted(findings, key=lambda finding: finding.spec.sparsity)
    ]
    table = pd.DataFrame(rows)
    lines = {
        "pruned_float32": ("pruned", COLORS["pruned"], "dash", "circle"),
        "pruned_int8": ("pruned + int8, own ranges", COLORS["pruned"], "solid", "circle-open"),
        "pruned_int8_dense_ranges": ("pruned + int8, dense ranges", COLORS["pruned"], "dot", "x"),
        "repaired_float32": ("pruned + repair", COLORS["repaired"], "dash", "square"),
        "repaired_int8": ("pruned + repair + int8", COLORS["repaired"], "solid", "square-open"),
    }
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": table.sparsity,
            "y": 100 * table[column],
            "name": name,
            "line": {"color": ink, "dash": dash},
            "marker": {"symbol": symbol, "size": 8},
            "hovertemplate": "%{y:.1f} points lost",
        }
        for column, (name, ink, dash, symbol) in lines.items()
        if column in table
    ]
    layout = {
        "height": 360,
        "margin": MARGIN,
        "uirevision": "keep",
        "hovermode": "x unified",
        "legend": LEGEND_ABOVE,
        "xaxis": {"title": {"text": "sparsity"}, "tickformat": ".0%"},
        "yaxis": {"title": {"text": "points lost"}, "rangemode": "tozero"},
    }
    extra = [100 * (finding.facts["together"] - finding.facts["sum"]) for finding in findings]
    message = (
        f"From {whole_percent(limit)} sparsity, the largest at which pruning alone loses at most 5 points, int8 "
        f"with re-measured ranges changes the loss by {signed_points(min(extra) / 100)} to "
        f"{signed_points(max(extra) / 100)} relative to the sum of both losses."
    )
    return Chart(go.Figure({"data": traces, "layout": layout}), message, table)
