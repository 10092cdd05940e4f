"""What each layer can lose alone: layer × sparsity, loss over depth, and a budget beside the usual allocations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reflow_core.numbers import in_points, percent, sparsity_of
from reflow_core.present.figures import CLEAR, COLORS, LEGEND_ABOVE, MARKERS, NAMES_DOWNWARD, Chart

LOSSES = [[0, CLEAR], [1, "#D55E00"]]
SHOWN = 0.5  # the loss (fraction) from which on a cell has the darkest color
ROW = 19  # pixels per layer
LOSS_OF = {"pruned": "loss_pruned", "repaired": "loss_repaired"}


def heatmap(table: pd.DataFrame, variant: str) -> Chart:
    """Accuracy lost (points) in layer × sparsity, forward order from the top; hatched where nothing was pruned."""
    grid = table.set_index(["depth", "layer", "sparsity"])[LOSS_OF[variant]].unstack("sparsity")
    names = [f"{depth} {layer}" for depth, layer in grid.index]
    shares = [f"{sparsity_of(share)}" for share in grid.columns]
    values = 100 * grid.to_numpy(dtype=float)
    unpruned = table[~table.ranked]
    traces: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "x": shares,
            "y": names,
            "z": values,
            "zmin": 0,
            "zmax": 100 * SHOWN,
            "colorscale": LOSSES,
            "colorbar": {"title": {"text": "points lost"}, "thickness": 12},
            "hovertemplate": "%{y} at %{x}: %{z:.1f} points lost<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": [f"{sparsity_of(share)}" for share in unpruned.sparsity],
            "y": [f"{depth} {layer}" for depth, layer in zip(unpruned.depth, unpruned.layer, strict=True)],
            "marker": {"symbol": "x-thin", "size": 8, "line": {"width": 1.5, "color": "#888"}},
            "hovertemplate": "%{y} at %{x}: nothing was pruned<extra></extra>",
            "showlegend": False,
        },
    ]
    layout = {
        "height": 110 + ROW * len(names),
        "margin": {"l": 8, "r": 8, "t": 8, "b": 46},
        "uirevision": "keep",
        "xaxis": {"type": "category", "showgrid": False, "title": {"text": "share pruned in this layer only"}},
        "yaxis": NAMES_DOWNWARD | {"showgrid": False},
    }
    return Chart(go.Figure({"data": traces, "layout": layout}), _heat_message(table, variant), table)


def _heat_message(table: pd.DataFrame, variant: str) -> str:
    ranked = table[table.ranked].dropna(subset=[LOSS_OF[variant]])
    if ranked.empty:
        return "No layer is measured yet."
    worst = ranked.loc[ranked[LOSS_OF[variant]].idxmax()]
    unranked = "" if table.ranked.all() else " ×: nothing was pruned, not ranked."
    return (
        f"Accuracy loss in points, {variant}. Largest: {worst.layer} at {sparsity_of(worst.sparsity)}, "
        f"{in_points(worst[LOSS_OF[variant]])}.{unranked}"
    )


def depths(table: pd.DataFrame, share: float) -> Chart:
    """Points lost by depth at one share of each layer, pruned and repaired; the bars are the cost of each layer."""
    rows = table[np.isclose(table.sparsity, share) & table.ranked]
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "x": rows.depth,
            "y": 100 * rows.multiply_adds / max(1, rows.multiply_adds.sum()),
            "name": "multiply-adds",
            "yaxis": "y2",
            "marker": {"color": "rgba(128,128,128,0.25)"},
            "hovertemplate": "%{y:.1f} % of the multiply-adds",
        }
    ]
    for variant, column in LOSS_OF.items():
        if rows[column].notna().any():
            traces.append(
                {
                    "type": "scatter",
                    "x": rows.depth,
                    "y": 100 * rows[column],
                    "text": rows.layer,
                    "name": variant,
                    "mode": "lines+markers",
                    "line": {"color": COLORS[variant], "dash": "dash" if variant == "pruned" else "solid"},
                    "marker": {"symbol": MARKERS[variant], "size": 8},
                    "hovertemplate": "%{text}: %{y:.1f} points",
                }
            )
    layout = {
        "height": 340,
        "margin": {"l": 60, "r": 60, "t": 34, "b": 46},
        "uirevision": "keep",
        "hovermode": "x unified",
        "legend": LEGEND_ABOVE,
        "xaxis": {"title": {"text": "layer, first to last"}},
        "yaxis": {"title": {"text": "points lost"}, "rangemode": "tozero", "overlaying": "y2"},
        "yaxis2": {"title": {"text": "share of multiply-adds (%)"}, "side": "right", "showgrid": False},
    }
    message = (
        f"Loss in points when a single layer is pruned by {sparsity_of(share)}; gray: its share of the multiply-adds."
    )
    return Chart(go.Figure({"data": traces, "layout": layout}), message, rows)


def scored(table: pd.DataFrame, by: str, answer: str) -> Chart:
    """Accuracies with their 95 % intervals, one row per value of `by`, all in the color of the repaired variant."""
    low, high = (table[bound].astype(float) for bound in ("low", "high"))
    trace = {
        "type": "scatter",
        "mode": "markers+text",
        "x": table.accuracy,
        "y": table[by],
        "text": [f"  {percent(score)}" for score in table.accuracy],
        "textposition": "top center",
        "marker": {"color": COLORS["repaired"], "size": 11, "symbol": MARKERS["repaired"]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": (high - table.accuracy).fillna(0),
            "arrayminus": (table.accuracy - low).fillna(0),
            "thickness": 1.5,
        },
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    layout = {
        "height": 90 + 46 * len(table),
        "margin": {"l": 8, "r": 8, "t": 8, "b": 46},
        "uirevision": "keep",
        "xaxis": {"title": {"text": "accuracy, 95 % interval"}, "tickformat": ".0%", "range": [-0.02, 1.05]},
        "yaxis": NAMES_DOWNWARD,
    }
    return Chart(go.Figure({"data": [trace], "layout": layout}), answer, table)


def cuts(table: pd.DataFrame, answer: str) -> Chart:
    """Accuracies of early and late cuts, one row per cut and repair."""
    return scored(table.assign(variant=table.cut + ", " + table.repair), "variant", answer)


def shares(table: pd.DataFrame, chosen: Mapping[str, float]) -> pd.DataFrame:
    """A budget as a table to edit: layer, weights, multiply-adds, sparsity in %."""
    layers = table.drop_duplicates("layer")[["layer", "weights", "multiply_adds"]]
    return layers.assign(sparsity=[100 * chosen.get(name, 0.0) for name in layers.layer]).reset_index(drop=True)
