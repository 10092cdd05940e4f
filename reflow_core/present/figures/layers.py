"""The layers of one diagnosis: how similar each still is to the dense network, and one of them channel by channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from reflow_core import numbers
from reflow_core.diagnosis.result import VARIANTS, Diagnosis
from reflow_core.diagnosis.verdict import AMPLIFIED, ratio_of
from reflow_core.numbers import percent, whole_percent
from reflow_core.present.figures import COLORS, DASHES, MARKERS, RATIO_RANGE, Chart, figure
from reflow_core.signal.layer_statistics import Layer

SIMILARITIES: dict[str, Callable[[Layer], Mapping[str, float | None]]] = {
    "CKA": lambda layer: layer.cka,
    "cosine": lambda layer: layer.cosine,
    "ε floor": lambda layer: layer.eps_floor,
}


def knowledge(diagnosis: Diagnosis, chosen: str | None, similarity: str = "CKA") -> Chart:
    """What each layer still knows: CKA or cosine to dense, or the ε floor, in forward order, on an axis from 0 to 1."""
    names = [layer.name for layer in diagnosis.layers]
    places = list(range(1, len(names) + 1))
    traces = [
        {
            "x": places,
            "y": [SIMILARITIES[similarity](layer).get(variant) for layer in diagnosis.layers],
            "text": names,
            "mode": "lines+markers",
            "line": {"color": COLORS[variant], "dash": DASHES[variant]},
            "marker": {"symbol": MARKERS[variant], "size": 7},
            "hovertemplate": "%{text}: %{y:.3f}<extra>" + f"{similarity}, {variant}</extra>",
        }
        for variant in _shown(diagnosis)
    ]
    columns = {
        f"{name} {variant}": [pick(layer).get(variant) for layer in diagnosis.layers]
        for name, pick in SIMILARITIES.items()
        for variant in _shown(diagnosis)
    }
    table = pd.DataFrame(
        {"layer": names, "sparsity of its weights": [layer.sparsity for layer in diagnosis.layers], **columns}
    )
    x_axis = {"title": f"layer, first to last (first {diagnosis.probed} images)", "range": [0.5, len(names) + 0.5]}
    y_axis = {"title": "σ² / (σ² + ε)" if similarity == "ε floor" else f"{similarity} to dense"}
    band = [_band(names.index(chosen) + 1)] if chosen in names else []
    plot = figure(_shown(diagnosis), traces, x_axis, y_axis | {"range": [-0.05, 1.05]}, band)
    return Chart(plot, _knowledge_message(diagnosis), table)


def _knowledge_message(diagnosis: Diagnosis) -> str:
    if not diagnosis.layers:
        return "No layer of this network could be measured."
    last = diagnosis.layers[-1]
    values = [f"{variant} {value:.2f}" for variant in _shown(diagnosis) if (value := last.cka.get(variant)) is not None]
    alike = (
        f"CKA to dense in the last layer: {', '.join(values)}."
        if values
        else "CKA to dense is not defined in the last layer."
    )
    separabilities = [
        (variant, summary.separability)
        for variant, summary in diagnosis.outcomes().items()
        if summary.separability is not None
    ]
    listed = ", ".join(f"{variant} {whole_percent(value)}" for variant, value in separabilities)
    return f"{alike} Nearest-class-mean accuracy in the full penultimate features: {listed}." if listed else alike


def channels(diagnosis: Diagnosis, layer: Layer) -> Chart:
    """One layer's per-channel variance ratios, channels in the order of dense variance; log axis, line at 1."""
    order = np.argsort(-layer.variance["dense"])
    low, high = RATIO_RANGE
    columns: dict[str, object] = {"channel": order, "variance dense": layer.variance["dense"][order]}
    traces = []
    for variant in _shown(diagnosis):
        ratios = layer.channel_ratios(variant)[order]
        columns |= {f"variance {variant}": layer.variance[variant][order], f"ratio {variant}": ratios}
        outside = (ratios < low) | (ratios > high)
        traces.append(
            {
                "x": list(range(1, len(order) + 1)),
                "y": np.clip(ratios, low, high),
                "mode": "markers",
                "customdata": np.stack([order, ratios], 1),
                "marker": {
                    "color": COLORS[variant],
                    "size": 8,
                    "symbol": np.where(outside, "triangle-down", MARKERS[variant]),
                },
                "hovertemplate": "channel %{customdata[0]}: %{customdata[1]:.3r}<extra>" + variant + "</extra>",
            }
        )
    x_axis = {"title": "channels, strongest in dense first (▼: off scale)"}
    y_axis = {
        "title": "Var / Var of dense",
        "type": "log",
        "range": [np.log10(low), np.log10(high) + 0.05],
        "dtick": 1,
        "exponentformat": "power",
    }
    plot = figure(_shown(diagnosis), traces, x_axis, y_axis, [_line_at_one()])
    return Chart(plot, _channels_message(diagnosis, layer), pd.DataFrame(columns))


def _channels_message(diagnosis: Diagnosis, layer: Layer) -> str:
    zeros = "" if layer.sparsity is None else f" Of its weights ({layer.weights}), {percent(layer.sparsity)} are zero."
    dead = ", ".join(
        f"{variant} {len(layer.dead_channels(variant))}" for variant in VARIANTS if variant in layer.variance
    )
    median = layer.median_ratio("pruned")
    middle = "" if median is None else f" (median channel {ratio_of(median)})"
    total = len(layer.variance["dense"])
    return f"{layer.name} {_kept(layer)}{middle}.{zeros}{_overshoot(layer)} Dead channels of {total}: {dead}."


def _kept(layer: Layer) -> str:
    ratio = layer.variance_ratio("pruned")
    if ratio is None:
        return "is constant in the dense network"
    if ratio > AMPLIFIED:
        return f"has {numbers.ratio(ratio)} times its dense variance when pruned, amplified"
    return f"keeps {numbers.ratio(ratio)} of its variance when pruned"


def _overshoot(layer: Layer) -> str:
    """What is said of a repair after which there is far more variance than in dense; nothing where there is not."""
    ratio = layer.variance_ratio("repaired")
    return f" Repaired, its ratio is {ratio_of(ratio)}." if ratio is not None and ratio > AMPLIFIED else ""


def _shown(diagnosis: Diagnosis) -> list[str]:
    return [variant for variant in VARIANTS[1:] if variant in diagnosis.predictions]


def _band(place: int) -> dict[str, Any]:
    return {
        "type": "rect",
        "yref": "paper",
        "x0": place - 0.4,
        "x1": place + 0.4,
        "y0": 0,
        "y1": 1,
        "line": {"width": 0},
        "fillcolor": "rgba(128,128,128,0.2)",
    }


def _line_at_one() -> dict[str, Any]:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": {"width": 1, "color": "#888"}}
