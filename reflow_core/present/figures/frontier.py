"""The frontier of repairs: accuracy against seconds, a panel a sparsity, every repair a point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reflow_core import numbers
from reflow_core.lab.frontier import pareto
from reflow_core.numbers import percent, sparsity_of
from reflow_core.present.figures import COLORS, DASHES, LEGEND_ABOVE, MARGIN, Chart
from reflow_core.present.figures.studies import PERCENT, color
from reflow_core.repairs import repairs
from reflow_core.spec import ONE_SHOT, STAGED

HEIGHT, HEIGHT_ALONE = 440, 340  # of several panels, whose legend is long, and of one
LEAST_S = 1e-3  # where no time at all would stand on a log axis
ROOM = 0.3  # of a decade, beside the first and the last point
GAP = 0.07  # between two panels, of the width
SYMBOLS = {False: "circle", True: "star"}  # in one shot, in stages
SIZES = {True: 12, False: 9}  # on the frontier, beaten
OPACITIES = {True: 1.0, False: 0.5}
INK = "#999999"  # of the frontier: no repair has it


def frontier(table: pd.DataFrame, reasons: Mapping[str, str]) -> Chart:
    """Accuracy against the seconds to select and repair; a line joins the repairs that no other beats.

    `table`: rows of `study.outcomes` of one selection, with any sparsities and repairs. `reasons`: by repair, why it
    does not apply.
    """
    if table.empty:
        return Chart(go.Figure({"layout": {"height": HEIGHT_ALONE}}), "No repair is computed yet.", table)
    rows = table.assign(seconds=table.seconds.clip(lower=LEAST_S), name=[*map(named, table.repair, table.stages)])
    rows = rows.sort_values(["sparsity", "seconds"], ignore_index=True)
    panels = [panel.assign(best=pareto(panel.seconds, panel.accuracy)) for _, panel in rows.groupby("sparsity")]
    span = _span(rows.seconds)
    figure = go.Figure({"data": [*_traces(panels, span)], "layout": _layout(panels, span)})
    return Chart(figure, _message(panels, reasons), pd.concat(panels, ignore_index=True))


def named(repair: str, stages: str = ONE_SHOT) -> str:
    """A repair as people read it."""
    if repair == "none":
        return "Unrepaired"
    return repairs[repair].info.title + (", in stages" if stages == STAGED else "")


def _span(seconds: pd.Series) -> tuple[float, float]:
    """The ends of the axis of seconds, the same in every panel, as powers of ten."""
    return float(np.log10(seconds.min())) - ROOM, float(np.log10(seconds.max())) + ROOM


def _traces(panels: list[pd.DataFrame], span: tuple[float, float]) -> Iterator[dict[str, Any]]:
    """What matters most is drawn last, above the others: the points of the frontier."""
    for number, panel in enumerate(panels, 1):
        points = [_points(rows) for _, rows in panel.sort_values("best").groupby("name", sort=False)]
        for trace in (_dense(panel, span), _steps(panel, span), *points):
            listed = number == 1 and trace["mode"] == "lines"
            yield trace | {"xaxis": f"x{number}", "legendgroup": trace["name"], "showlegend": listed}
    yield from map(_listed, pd.concat(panels).drop_duplicates("name").itertuples())


def _listed(row: Any) -> dict[str, Any]:
    """A repair in the legend, which looks the same whether it is beaten or not."""
    marker = {"color": color(row.repair), "symbol": SYMBOLS[row.stages == STAGED], "size": SIZES[True]}
    nowhere = {"type": "scatter", "x": [None], "y": [None], "mode": "markers"}
    return nowhere | {"name": row.name, "legendgroup": row.name, "marker": marker}


def _dense(panel: pd.DataFrame, span: tuple[float, float]) -> dict[str, Any]:
    score = float(panel.dense.iloc[0])
    return {
        "type": "scatter",
        "x": [10.0**end for end in span],
        "y": [score, score],
        "name": "dense",
        "mode": "lines",
        "line": {"color": COLORS["dense"], "dash": DASHES["dense"], "width": 2},
        "hovertemplate": f"dense: {percent(score)}<extra></extra>",
    }


def _steps(panel: pd.DataFrame, span: tuple[float, float]) -> dict[str, Any]:
    """The most accuracy that so many seconds buy, which rises at each point of the frontier."""
    best = panel[panel.best]
    return {
        "type": "scatter",
        "x": [*best.seconds, 10.0 ** span[1]],
        "y": [*best.accuracy, best.accuracy.iloc[-1]],
        "name": "frontier",
        "mode": "lines",
        "line": {"color": INK, "shape": "hv", "width": 2},
        "hoverinfo": "skip",
    }


def _points(rows: pd.DataFrame) -> dict[str, Any]:
    """One repair in one panel, smaller and paler where another beats it; bars are the 95 % intervals."""
    first = rows.iloc[0]
    bars = {"array": rows.high - rows.accuracy, "arrayminus": rows.accuracy - rows.low, "thickness": 1, "width": 0}
    return {
        "type": "scatter",
        "x": rows.seconds,
        "y": rows.accuracy,
        "name": first["name"],
        "mode": "markers",
        "cliponaxis": False,
        "marker": {
            "color": color(first.repair),
            "symbol": SYMBOLS[first.stages == STAGED],
            "size": [SIZES[best] for best in rows.best],
            "opacity": [OPACITIES[best] for best in rows.best],
        },
        "error_y": {"visible": bool(rows.low.notna().all()), **bars},
        "hovertext": [_told(row) for row in rows.itertuples()],
        "hoverinfo": "text",
    }


def _told(row: Any) -> str:
    interval = "" if pd.isna(row.low) else f" (95 % interval {percent(row.low)} to {percent(row.high)})"
    place = "on the frontier" if row.best else "another is quicker and as accurate"
    return f"{row.name}: {percent(row.accuracy)}{interval}<br>{numbers.seconds(row.seconds)}, {place}"


def _layout(panels: list[pd.DataFrame], span: tuple[float, float]) -> dict[str, Any]:
    width = (1 + GAP) / len(panels)
    left = [number * width for number in range(len(panels))]
    headings = [
        {
            "text": f"{sparsity_of(panel.sparsity.iloc[0])} sparsity",
            "x": start + (width - GAP) / 2,
            "y": 1,
            "xanchor": "center",
            "xref": "paper",
            "yref": "paper",
            "yanchor": "bottom",
            "showarrow": False,
        }
        for panel, start in zip(panels, left, strict=True)
    ]
    axes = {
        f"xaxis{number}": {
            "type": "log",
            "range": span,
            "domain": [start, min(1.0, start + width - GAP)],
            "dtick": 1 if len(panels) == 1 else 2,
            "tickangle": 0,
            "title": {"text": "seconds to select and repair (log)"} if number == (len(panels) + 1) // 2 else None,
        }
        for number, start in enumerate(left, 1)
    }
    labeled = panels[0].low.notna().any()
    return axes | {
        "height": HEIGHT_ALONE if len(panels) == 1 else HEIGHT,
        "margin": MARGIN,
        "uirevision": "keep",
        "legend": LEGEND_ABOVE | {"x": 0, "y": 1.07},
        "annotations": headings,
        "yaxis": {
            "title": {"text": "accuracy" if labeled else "agreement with dense"},
            "tickformat": PERCENT,
            "range": [-0.02, 1.02],
        },
    }


def _message(panels: list[pd.DataFrame], reasons: Mapping[str, str]) -> str:
    """Who is on the frontier, and what each costs."""
    steps = "; ".join(f"at {sparsity_of(panel.sparsity.iloc[0])} sparsity {_frontier_of(panel)}" for panel in panels)
    absent = "".join(f" {named(repair)} does not apply. {why}" for repair, why in reasons.items())
    return f"No other repair is as quick and as accurate as those on the line: {steps}.{absent}"


def _frontier_of(panel: pd.DataFrame) -> str:
    best = panel[panel.best & (panel.repair != "none")]
    return ", ".join(map(_step, best.itertuples())) or "there is none"


def _step(row: Any) -> str:
    return f"{row.name} {percent(row.accuracy)} ({numbers.seconds(row.seconds)})"
