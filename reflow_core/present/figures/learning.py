"""How a repair that trains went, epoch by epoch."""

from __future__ import annotations

import dataclasses

import pandas as pd
import plotly.graph_objects as go

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.numbers import whole_percent
from reflow_core.present.figures import COLORS, LEGEND_ABOVE, MARGIN, Chart
from reflow_core.production.learning import as_table


def of_training(diagnosis: Diagnosis) -> dict[str, Chart]:
    """The learning curve of a diagnosis by heading; empty where its repair did not train."""
    if (curve := diagnosis.curve) is None:
        return {}
    labeled = diagnosis.spec.repair == "fine-tune"
    loss, start = ("cross-entropy", "REFLOW only") if labeled else ("divergence from dense", "least squares")
    drawn = learning(as_table(curve), loss, start)
    if not labeled and curve.best:
        message = (
            f"The {loss} on held-out calibration images goes from {curve.held[0]:.3f} to {curve.kept:.3f} with "
            f"{whole_percent(curve.share)} of the change that {len(curve.train)} epochs made; those weights are kept."
        )
        drawn = dataclasses.replace(drawn, message=message)
    return {"Learning curve": drawn}


def learning(table: pd.DataFrame, loss: str = "cross-entropy", start: str = "REFLOW only") -> Chart:
    """A loss by epoch, on the images that train and on those held out; the epoch that is kept.

    `table`: see `as_table`. `loss`: its name. `start`: what epoch 0 is.
    """
    lines = {"training": (COLORS["dense"], "dot", "circle"), "held out": (COLORS["repaired"], "solid", "square")}
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": table.epoch,
            "y": table[name],
            "connectgaps": True,
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
        "xaxis": {"title": {"text": f"epoch (0: {start})"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"{loss} (nats, log)"}, "type": "log"},
        "shapes": [{"type": "line", "x0": kept.epoch, "x1": kept.epoch, "yref": "paper", "y0": 0, "y1": 1}],
    }
    first, best = table["held out"].iloc[0], kept["held out"]
    message = (
        f"The {loss} on held-out calibration images goes from {first:.3f} to {best:.3f} at epoch {kept.epoch} of "
        f"{len(table) - 1}; that network is kept."
        if kept.epoch
        else f"No training lowers the {loss} on held-out calibration images, {first:.3f} at first; none is kept."
    )
    return Chart(go.Figure({"data": traces, "layout": layout}), message, table)
