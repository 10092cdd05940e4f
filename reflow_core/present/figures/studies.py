"""Configurations side by side: curves, layer × sparsity, selection × repair, overlap, and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reflow_core.diagnosis.point import Point
from reflow_core.diagnosis.result import jaccard
from reflow_core.diagnosis.verdict import AMPLIFIED, ratio_of
from reflow_core.lab.study import Split, saturation
from reflow_core.numbers import decimal, percent, whole_percent
from reflow_core.present.figures import CLEAR, COLORS, LEGEND_ABOVE, MARGIN, NAMES_DOWNWARD, RATIO_RANGE, Chart
from reflow_core.pruning.criteria import criteria
from reflow_core.repairs import repairs

REPAIR_COLORS = {
    "none": COLORS["pruned"],
    "reflow": COLORS["repaired"],
    "least-squares": "#009E73",
    "statcorr": "#CC79A7",
    "bias": "#E69F00",
    "norm-rescale": "#56B4E9",
    "repair-fuse": "#8A7A00",
    "fine-tune": "#9467BD",
    "distill": "#7AB800",
}
INKS = (COLORS["repaired"], COLORS["pruned"], "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagram", "hourglass")
FALLING = [[0, "#D55E00"], [0.8, CLEAR], [0.8, "rgba(0, 114, 178, 0)"], [1, "#0072B2"]]  # log ratio −4 … 0 … 1
RISING = [[0, "#D55E00"], [1, CLEAR]]
SHARES = [[0, "#BBD3E3"], [1, "#0072B2"]]
PERCENT = ".0%"


def color(repair: str) -> str:
    """The color of a repair, the same everywhere; gray for a repair without a color of its own."""
    return REPAIR_COLORS.get(repair, "#7F7F7F")


def curves(
    table: pd.DataFrame, cells: Sequence[Point], variant: str, measure: str, base: pd.DataFrame | None = None
) -> Chart:
    """Accuracy (or its gain over magnitude, in points) against sparsity, above the layers of one configuration's sweep.

    `table`: rows of `study.outcomes`. `cells`: that sweep's points; `variant`: "pruned" or "repaired"; `measure`:
    "variance ratio" or "CKA". `base`: rows that the others gain over (see `gained`), None for the accuracy itself.
    Both plots share the sparsity axis and its cursor.
    """
    gain = base is not None
    shown = table.assign(value=table.accuracy) if base is None else gained(table, base)
    traces = [trace for group in shown.groupby(["selection", "repair"], sort=False) for trace in _line(group, gain)]
    names = list(cells[0].layers) if cells else []
    traces += _cells(cells, names, variant, measure)
    cursor = {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikesnap": "cursor"}
    layout = {
        "height": 420 + 17 * len(names),
        "margin": {"l": 120, "r": 8, "t": 60, "b": 46},
        "hovermode": "x unified" if not cells else "x",
        "hoversubplots": "axis",
        "legend": LEGEND_ABOVE | {"x": 0},
        "uirevision": "keep",
        "clickmode": "event+select",
        "xaxis": cursor
        | {"title": {"text": "sparsity"}, "tickformat": PERCENT, "anchor": "y2", "range": [-0.02, 0.99]},
        "yaxis": _score_axis(gain) | {"domain": [_split_at(names), 1]},
        "yaxis2": {"domain": [0, _split_at(names) - 0.06], "autorange": "reversed", "dtick": 1, "showgrid": False},
    }
    return Chart(go.Figure({"data": traces, "layout": layout}), _curves_message(table), table)


def _split_at(names: Sequence[str]) -> float:
    return 1 - 330 / (330 + 17 * len(names)) if names else 0.06


def _score_axis(gain: bool) -> dict[str, Any]:
    if gain:
        return {"title": {"text": "points above magnitude"}, "zeroline": True, "zerolinewidth": 2}
    return {"title": {"text": "accuracy"}, "tickformat": PERCENT, "range": [-0.02, 1.02]}


def magnitude(table: pd.DataFrame, unrepaired: bool) -> pd.DataFrame:
    """The rows of magnitude pruning without update: without a repair either, or one row a repair."""
    rows = table[table.selection == "magnitude"]
    return rows[rows.repair == "none"].drop(columns="repair") if unrepaired else rows


def gained(table: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Each row's accuracy minus that of the base at its sparsity and seed, as `value` in points.

    `base`: rows of `magnitude`; where they have a repair, it is the row's own.
    """
    keys = [name for name in ("repair", "sparsity", "seed") if name in base]
    scores = base.drop_duplicates(keys)[[*keys, "accuracy"]].rename(columns={"accuracy": "base"})
    joined = table.merge(scores, on=keys)
    return joined.assign(value=100 * (joined.accuracy - joined.base))


def _line(group: tuple[tuple[str, str], pd.DataFrame], gain: bool) -> list[dict[str, Any]]:
    (selection, repair), rows = group
    rows = rows.sort_values("sparsity")
    name, ink = f"{selection} → {repair}", color(repair)
    line: dict[str, Any] = {
        "type": "scatter",
        "x": rows.sparsity,
        "y": rows.value,
        "name": name,
        "legendgroup": name,
        "mode": "lines+markers",
        "line": {"color": ink, "dash": "dash" if "+" in selection else "solid"},
        "marker": {"symbol": _symbols(selection, rows), "size": 7},
        "hovertemplate": "%{y:+.1f} points" if gain else "%{y:.1%}",
    }
    if gain or rows.low.isna().any():
        return [line]
    return [_band(rows.sparsity, rows.low, rows.high, ink, name), line]


def _band(x: pd.Series | pd.Index, low: pd.Series, high: pd.Series, ink: str, group: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [*x, *x[::-1]],
        "y": [*high, *low[::-1]],
        "fill": "toself",
        "fillcolor": ink,
        "opacity": 0.15,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": group,
        "mode": "lines",
    }


def _symbols(selection: str, rows: pd.DataFrame) -> str | list[str]:
    """That of a selection; hollow where a row is a preview."""
    symbol = _symbol(selection)
    return [f"{symbol}{'-open' * preview}" for preview in rows.preview] if "preview" in rows else symbol


def _symbol(selection: str) -> str:
    names = criteria.names()
    name = selection.partition(" ")[0]
    return SYMBOLS[names.index(name) % len(SYMBOLS)] if name in names else SYMBOLS[0]


def _cells(cells: Sequence[Point], names: Sequence[str], variant: str, measure: str) -> list[dict[str, Any]]:
    """Layer × sparsity as a heatmap under invisible markers: unlike the cells of a heatmap, markers can be clicked."""
    ordered = sorted(cells, key=lambda point: point.spec.sparsity)
    if not ordered or not names:
        return []
    sparsities = [point.spec.sparsity for point in ordered]
    profiles = [point.cka.get(variant) if measure == "CKA" else point.ratio.get(variant) for point in ordered]
    rows = [[np.nan if v is None else v for v in profile or [None] * len(names)] for profile in profiles]
    values = np.array(rows, float).T
    low, high = RATIO_RANGE
    with np.errstate(divide="ignore"):
        shade = values if measure == "CKA" else np.clip(np.log10(values), np.log10(low), np.log10(high))
    limits = (0, 1, RISING) if measure == "CKA" else (np.log10(low), np.log10(high), FALLING)
    scale = dict(zip(("zmin", "zmax", "colorscale"), limits, strict=True))
    common = {"xaxis": "x", "yaxis": "y2", "showlegend": False}
    heat = {
        "type": "heatmap",
        "x": sparsities,
        "y": list(names),
        "z": shade,
        "customdata": values,
        "showscale": False,
        "hovertemplate": "%{y}: " + measure + " %{customdata:.3r}<extra></extra>",
        **scale,
        **common,
    }
    grid = [(sparsity, name) for name in names for sparsity in sparsities]
    click = {
        "type": "scatter",
        "x": [sparsity for sparsity, _ in grid],
        "y": [name for _, name in grid],
        "customdata": grid,
        "mode": "markers",
        "marker": {"symbol": "square", "size": 14, "opacity": 0},
        "hoverinfo": "none",
        **common,
    }
    return [heat, click]


def _named(selection: object, repair: object) -> str:
    """A configuration in words."""
    return f"{selection} without repair" if repair == "none" else f"{selection} with {repairs[str(repair)].info.title}"


def _curves_message(table: pd.DataFrame) -> str:
    if table.empty:
        return "Nothing is computed yet."
    near = table.sparsity.iloc[(table.sparsity - 0.8).abs().argmin()]
    at = table[table.sparsity == near]
    scores = [f"{_named(row.selection, row.repair)} {percent(row.accuracy)}" for row in at.itertuples()]
    return f"Accuracy at {whole_percent(near)} sparsity: {', '.join(scores)}."


def matrix(table: pd.DataFrame) -> Chart:
    """Selection × repair at one sparsity: accuracy with its 95 % interval in each cell, a dash where not applicable."""
    listed = [list(dict.fromkeys(table[name])) for name in ("selection", "repair")]
    scores, low, high = (
        table.pivot(index="selection", columns="repair", values=value).reindex(index=listed[0], columns=listed[1])
        for value in ("accuracy", "low", "high")
    )
    words = [
        [_cell(*(float(part.iat[i, j]) for part in (scores, low, high))) for j in range(scores.shape[1])]
        for i in range(scores.shape[0])
    ]
    figure = _shaded(scores, text=words, texttemplate="%{text}", hovertemplate="%{y} → %{x}: %{z:.1%}<extra></extra>")
    return Chart(figure, _matrix_message(scores), table)


def _cell(score: float, low: float, high: float) -> str:
    if pd.isna(score):
        return "–"
    bold = f"<b>{decimal(100 * score, 1)}</b>"
    return bold if pd.isna(low) else f"{bold}<br>{decimal(100 * low, 0)} to {decimal(100 * high, 0)}"


def _shaded(values: pd.DataFrame, **words: Any) -> go.Figure:
    """A table of fractions as a heatmap; `words`: the settings of the text in its cells."""
    heat = {
        "type": "heatmap",
        "x": list(values.columns),
        "y": list(values.index),
        "z": values.to_numpy(dtype=float),
        "zmin": 0,
        "zmax": 1,
        "colorscale": SHARES,
        "showscale": False,
        **words,
    }
    layout = {
        "height": 110 + 46 * len(values),
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "uirevision": "keep",
        "xaxis": {"type": "category", "automargin": True},
        "yaxis": NAMES_DOWNWARD,
    }
    return go.Figure({"data": [heat], "layout": layout})


def _matrix_message(scores: pd.DataFrame) -> str:
    flat = scores.stack()
    if flat.empty:
        return "No cell is computed yet."
    best, worst = flat.idxmax(), flat.idxmin()
    extremes = f"Best: {_named(*best)}, {percent(flat.max())}. Worst: {_named(*worst)}, {percent(flat.min())}."
    return f"{extremes} Each cell: accuracy in %, with its 95 % interval below."


def split_message(split: Split) -> str:
    """What the shares of the split mean, in a sentence."""
    return (
        f"Of the variance between these cells, {whole_percent(split.selection)} is due to the selection, "
        f"{whole_percent(split.repair)} to the repair and {whole_percent(split.interaction)} to their interaction."
    )


def signal(table: pd.DataFrame) -> Chart:
    """The variance ratio of the last layer of every pruned network before any repair, with its accuracy beside it."""
    bare = table[(table.repair == "none") & table.last_ratio.notna()]
    low, high = RATIO_RANGE
    x_axis = {"title": "variance ratio of the last layer (log)", "type": "log", "range": [-4, 1], "dtick": 1}
    figure = _dots([_dot(bare, bare.last_ratio.clip(low, high), "none", "ratio %{x:.3r}")], x_axis)
    ratios = ", ".join(
        f"{row.selection} {ratio_of(row.last_ratio)} ({percent(row.accuracy)})"
        for row in bare.sort_values("last_ratio", ascending=False).itertuples()
    )
    note = (
        f" Above {AMPLIFIED:g} a signal is amplified, which is not a sign of health."
        if (bare.last_ratio > AMPLIFIED).any()
        else ""
    )
    return Chart(figure, f"Variance ratio (accuracy in parentheses) before any repair: {ratios}.{note}", bare)


def _dot(rows: pd.DataFrame, x: pd.Series, repair: str, hover: str, labeled: bool = True) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": x,
        "y": rows.selection,
        "customdata": rows.accuracy,
        "text": [f"  {whole_percent(score)}" for score in rows.accuracy],
        "textposition": "middle right",
        "name": repair,
        "mode": "markers+text" if labeled else "markers",
        "marker": {"color": color(repair), "size": 11},
        "hovertemplate": "%{y}: " + hover + ", accuracy %{customdata:.1%}<extra>" + repair + "</extra>",
    }


def _dots(traces: Sequence[Mapping[str, Any]], x_axis: Mapping[str, Any]) -> go.Figure:
    layout = {
        "height": 380,
        "margin": {"l": 8, "r": 8, "t": 34, "b": 46},
        "uirevision": "keep",
        "showlegend": len(traces) > 1,
        "legend": LEGEND_ABOVE,
        "xaxis": {**x_axis, "title": {"text": x_axis["title"]}, "exponentformat": "power"},
        "yaxis": NAMES_DOWNWARD,
    }
    return go.Figure({"data": list(traces), "layout": layout})


def overlap(masks: Mapping[str, Point]) -> Chart:
    """Jaccard overlap between the masks of the selections. `masks`: a point by the name of its selection."""
    names = list(masks)
    values = [[jaccard(masks[row].kept, masks[column].kept) for column in names] for row in names]
    table = pd.DataFrame(values, index=names, columns=names)
    figure = _shaded(table, texttemplate="%{z:.2f}", hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>")
    pairs = [(value, names[i], names[j]) for i, row in enumerate(values) for j, value in enumerate(row) if i < j]
    lowest = min(pairs, default=None)
    least_alike = "" if lowest is None else f" Least similar: {lowest[1]} and {lowest[2]}, {decimal(lowest[0], 2)}."
    sample = len(next(iter(masks.values())).kept) if masks else 0
    message = f"Weights kept by both masks divided by weights kept by either, on {sample:,} weights.{least_alike}"
    return Chart(figure, message, table.reset_index(names="selection"))


def saturating(table: pd.DataFrame, by: str) -> Chart:
    """Accuracy against the number of calibration images, one line per value of `by`; band from worst to best repeat."""
    traces: list[dict[str, Any]] = []
    for place, (value, rows) in enumerate(table.groupby(by, sort=False)):
        scores = rows.groupby("calibration_images").accuracy.agg(["mean", "min", "max"])
        ink, name = INKS[place % len(INKS)], str(value)
        traces += [
            _band(scores.index, scores["min"], scores["max"], ink, name),
            {
                "type": "scatter",
                "x": scores.index,
                "y": scores["mean"],
                "name": name,
                "legendgroup": name,
                "mode": "lines+markers",
                "line": {"color": ink},
                "marker": {"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8},
                "hovertemplate": "%{x} images: %{y:.1%}",
            },
        ]
    counts = sorted(int(count) for count in table.calibration_images.unique())
    layout = {
        "height": 400,
        "margin": MARGIN,
        "uirevision": "keep",
        "legend": LEGEND_ABOVE,
        "xaxis": {"title": {"text": "calibration images (log)"}, "type": "log", "tickvals": counts},
        "yaxis": {"title": {"text": "accuracy"}, "tickformat": ".1%"},
    }
    figure = go.Figure({"data": traces, "layout": layout})
    fewest = {str(value): saturation(rows) for value, rows in table.groupby(by, sort=False)}
    listed = ", ".join(f"{value} {count}" for value, count in fewest.items())
    return Chart(
        figure, f"Images needed to come within one point of the best: {listed}. Bands: worst to best repeat.", table
    )
