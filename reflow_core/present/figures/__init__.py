"""Figures as Plotly objects: one function per figure, fixed axes, one color per variant, and a message in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

COLORS = {"dense": "#7F7F7F", "pruned": "#D55E00", "repaired": "#0072B2"}
DASHES = {"dense": "dot", "pruned": "dash", "repaired": "solid"}
MARKERS = {"dense": "diamond", "pruned": "circle", "repaired": "square"}
GLYPHS = {"dense": "◆", "pruned": "●", "repaired": "■"}
LINK = re.compile(r"<(?=\s*/?\s*a\b)", re.IGNORECASE)
NAMING = ("x", "y", "text", "hovertext")  # of a trace: where names may stand
HEIGHT = 320
RATIO_RANGE = (1e-4, 10.0)
CLEAR = "rgba(213, 94, 0, 0)"  # nothing: whatever the page's color is
MARGIN = {"l": 60, "r": 8, "t": 34, "b": 46}  # room for an axis title at the left and below, a legend above
LEGEND_ABOVE = {"orientation": "h", "y": 1.0, "yanchor": "bottom"}
NAMES_DOWNWARD = {"type": "category", "autorange": "reversed", "automargin": True}  # an axis of names, the first on top


@dataclass(frozen=True)
class Chart:
    """A figure, its message in one sentence (alt text) and the data behind it.

    Plotly draws links out of names such as a class's; a stranger's name is drawn as it is written.
    """

    figure: go.Figure
    message: str
    table: pd.DataFrame

    def __post_init__(self) -> None:
        for trace in self.figure.data:
            for place in NAMING:
                if place in trace and any(map(_is_link, np.ravel(trace[place]))):
                    trace[place] = _as_written(trace[place])


def _is_link(value: object) -> bool:
    return isinstance(value, str) and LINK.search(value) is not None


def _as_written(value: Any) -> Any:
    if isinstance(value, str):
        return LINK.sub("&lt;", value)
    return [_as_written(each) for each in value] if isinstance(value, Iterable) else value


def figure(
    variants: Sequence[str],
    traces: Sequence[Mapping[str, Any]],
    x_axis: Mapping[str, Any],
    y_axis: Mapping[str, Any],
    shapes: Sequence[Mapping[str, Any]],
) -> go.Figure:
    """One scatter trace per variant. The key is a line of text: a legend would cost half of every redraw."""
    layout = {
        "height": HEIGHT,
        "margin": MARGIN | {"autoexpand": False},
        "title": key(variants),
        "showlegend": False,
        "hovermode": "closest",
        "uirevision": "keep",
        "xaxis": axis(x_axis),
        "yaxis": axis(y_axis),
        "shapes": list(shapes),
    }
    return go.Figure({"data": [{"type": "scatter", **trace} for trace in traces], "layout": layout})


def key(variants: Iterable[str]) -> dict[str, Any]:
    """The colors and marks of the variants as a figure's title."""
    text = "    ".join(
        f'<span style="color:{COLORS[variant]}">{GLYPHS[variant]}</span> {variant}' for variant in variants
    )
    return {"text": text, "font": {"size": 13}, "x": 0, "xref": "paper", "y": 0.98, "yanchor": "top"}


def axis(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Axis settings with a fixed margin; the title is given as plain text."""
    return {**settings, "title": {"text": settings["title"]}, "automargin": False}
