"""Figures as Plotly objects: one function a figure, fixed axes, one colour an arm, each with its message in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reflow_core.result import ARMS, Diagnosis, Layer

COLOURS = {"dense": "#7F7F7F", "pruned": "#D55E00", "repaired": "#0072B2"}
DASHES = {"dense": "dot", "pruned": "dash", "repaired": "solid"}
MARKERS = {"dense": "diamond", "pruned": "circle", "repaired": "square"}
HEIGHT = 320
RATIO_RANGE = (1e-4, 10.0)


@dataclass(frozen=True)
class Chart:
    """A figure, its message in one sentence (alt text) and the data behind it."""

    figure: go.Figure
    message: str
    table: pd.DataFrame


def knowledge(found: Diagnosis, chosen: str | None) -> Chart:
    """What each layer still knows: CKA and cosine to dense, and the ε floor, in forward order; all 0 to 1."""
    names = [layer.name for layer in found.layers]
    rows = {("sparsity of its weights", ""): [layer.sparsity for layer in found.layers]}
    figure = _empty("similarity or share, 0 to 1", (-0.05, 1.05))
    for title, dash, pick in (
        ("CKA", "solid", lambda layer, arm: layer.cka.get(arm)),
        ("cosine", "dot", lambda layer, arm: layer.cosine.get(arm)),
        ("ε floor", "dashdot", lambda layer, arm: layer.eps_floor.get(arm)),
    ):
        for arm in _shown(found):
            values = [pick(layer, arm) for layer in found.layers]
            rows[(title, arm)] = values
            figure.add_scatter(
                x=list(range(1, len(names) + 1)),
                y=values,
                name=f"{title}, {arm}",
                text=names,
                mode="lines+markers",
                line={"color": COLOURS[arm], "dash": dash},
                marker={"symbol": MARKERS[arm], "size": 6},
                visible=True if title == "CKA" else "legendonly",
                hovertemplate="%{text}: %{y:.3f}<extra>" + f"{title}, {arm}</extra>",
            )
    if chosen in names:
        figure.add_vline(x=names.index(chosen) + 1, line={"width": 8, "color": "rgba(0,114,178,0.18)"})
    figure.update_xaxes(title=f"layer, first to last (first {found.probed} images)")
    table = pd.DataFrame(
        {" ".join(key).strip(): values for key, values in rows.items()}, index=pd.Index(names, name="layer")
    )
    return Chart(figure, _knowledge_message(found), table.reset_index())


def _knowledge_message(found: Diagnosis) -> str:
    if not found.layers:
        return "No layer of this network could be measured."
    last = found.layers[-1]
    told = [f"{arm} {value:.2f}" for arm in _shown(found) if (value := last.cka.get(arm)) is not None]
    alike = (
        f"CKA to dense in the last layer: {', '.join(told)}."
        if told
        else "The last layer is constant: CKA is not defined."
    )
    apart = [
        (arm, summary.separability) for arm, summary in found.outcomes().items() if summary.separability is not None
    ]
    share = ", ".join(f"{arm} {value:.0%}" for arm, value in apart)
    return f"{alike} Told apart by nearest class mean in the penultimate features: {share}." if share else alike


def channels(found: Diagnosis, layer: Layer) -> Chart:
    """One layer's per-channel variance ratios, channels in the order of dense variance; log axis, line at 1."""
    order = np.argsort(-layer.variance["dense"])
    figure = _empty("Var / Var of dense", None)
    low, high = RATIO_RANGE
    columns: dict[str, object] = {"channel": order, "variance dense": layer.variance["dense"][order]}
    for arm in _shown(found):
        ratios = layer.channel_ratios(arm)[order]
        columns |= {f"variance {arm}": layer.variance[arm][order], f"ratio {arm}": ratios}
        outside = (ratios < low) | (ratios > high)
        figure.add_scatter(
            x=list(range(1, len(order) + 1)),
            y=np.clip(ratios, low, high),
            name=arm,
            mode="markers",
            customdata=np.stack([order, ratios], 1),
            marker={
                "color": COLOURS[arm],
                "size": 8,
                "symbol": np.where(outside, "triangle-down", MARKERS[arm]),
            },
            hovertemplate="channel %{customdata[0]}: %{customdata[1]:.3g}<extra>" + arm + "</extra>",
        )
    figure.add_hline(y=1, line={"width": 1, "color": "#888888"})
    figure.update_yaxes(type="log", range=[np.log10(low), np.log10(high) + 0.05], dtick=1, exponentformat="power")
    figure.update_xaxes(title="channels, strongest in dense first (▼: off the axis)")
    return Chart(figure, _channels_message(found, layer), pd.DataFrame(columns))


def _channels_message(found: Diagnosis, layer: Layer) -> str:
    own = "" if layer.sparsity is None else f" Its weights ({layer.weights}) are {layer.sparsity:.0%} zero."
    dead = ", ".join(f"{arm} {len(layer.dead_channels(arm))}" for arm in ARMS if arm in layer.variance)
    ratio, median = layer.variance_ratio("pruned"), layer.median_ratio("pruned")
    shrunk = "is constant in the dense network" if ratio is None else f"keeps {ratio:.2g} of its variance when pruned"
    middle = "" if median is None else f" (median channel {median:.2g})"
    total = len(layer.variance["dense"])
    return f"{layer.name} {shrunk}{middle}.{own} Dead channels of {total}: {dead}."


def _shown(found: Diagnosis) -> list[str]:
    return [arm for arm in ARMS[1:] if arm in found.answers]


def _empty(y_title: str, y_range: tuple[float, float] | None) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 56, "r": 8, "t": 48, "b": 44},
        legend={
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "entrywidth": 0.32,
            "entrywidthmode": "fraction",
            "font": {"size": 11},
        },
        hovermode="closest",
        uirevision="keep",
    )
    figure.update_yaxes(title=y_title, range=y_range)
    return figure
