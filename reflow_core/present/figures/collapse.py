"""One diagnosis, or two side by side on shared axes: accuracies, variance ratios, predictions by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reflow_core.diagnosis.result import VARIANTS, Diagnosis
from reflow_core.diagnosis.shown_classes import MOST_PREDICTED, ShownClasses, shown_classes
from reflow_core.diagnosis.verdict import AMPLIFIED, ratio_of
from reflow_core.numbers import percent
from reflow_core.present.figures import COLORS, DASHES, HEIGHT, MARKERS, NAMES_DOWNWARD, RATIO_RANGE, Chart, key

Views = Mapping[str, Diagnosis]  # by the title above each; "" where there is only one


def accuracies(views: Views) -> Chart:
    """Accuracy of each variant with its 95 % Wilson interval, 0 to 100 %; agreement with dense without labels."""
    rows = pd.DataFrame(
        [
            {"view": name, "variant": variant, "accuracy": summary.score, "n": summary.n}
            | dict(zip(("low", "high"), summary.ci95 or (np.nan, np.nan), strict=True))
            for name, diagnosis in views.items()
            for variant, summary in diagnosis.outcomes().items()
        ]
    )
    figure = _beside(views)
    for place, name in enumerate(views, 1):
        for row in rows[rows.view == name].itertuples():
            mark = {"color": COLORS[row.variant], "size": 13, "symbol": MARKERS[row.variant]}
            error = {"type": "data", "symmetric": False, "thickness": 2}
            error |= {"array": [100 * (row.high - row.accuracy)], "arrayminus": [100 * (row.accuracy - row.low)]}
            figure.add_scatter(
                x=[row.variant],
                y=[100 * row.accuracy],
                error_y=error,
                mode="markers+text",
                text=[percent(row.accuracy)],
                textposition="middle right",
                cliponaxis=False,
                marker=mark,
                hovertemplate=f"{row.variant}: %{{y:.1f}} %, n = {row.n}<extra></extra>",
                row=1,
                col=place,
            )
    figure.update_yaxes(range=[-3, 105], row=1, col=1, title_text=f"{measured(views)} (%)")
    figure.update_xaxes(range=[-0.5, len(VARIANTS) - 0.3])
    figure.update_layout(margin_r=32)  # for the last number
    scores = "; ".join(f"{name + ': ' if name else ''}{_scores(diagnosis)}" for name, diagnosis in views.items())
    return Chart(figure, f"{measured(views).capitalize()}: {scores}.", rows)


def measured(views: Views) -> str:
    """What is measured: accuracy, or agreement with dense where the images have no labels."""
    labeled = all(diagnosis.labels is not None for diagnosis in views.values())
    return "accuracy" if labeled else "agreement with dense"


def _scores(diagnosis: Diagnosis) -> str:
    return ", ".join(f"{variant} {percent(summary.score)}" for variant, summary in diagnosis.outcomes().items())


def ratios(views: Views, chosen: str | None = None) -> Chart:
    """Layer-wise variance ratios of pruned and repaired in forward order; log axis, line at 1, clipped visibly."""
    low, high = RATIO_RANGE
    figure, rows = _beside(views), []
    for place, (name, diagnosis) in enumerate(views.items(), 1):
        names = [layer.name for layer in diagnosis.layers]
        for variant in (variant for variant in VARIANTS[1:] if variant in diagnosis.predictions):
            values = np.array([layer.variance_ratio(variant) for layer in diagnosis.layers], dtype=float)
            rows += [
                {"view": name, "variant": variant, "layer": layer, "ratio": value}
                for layer, value in zip(names, values, strict=True)
            ]
            outside = (values < low) | (values > high)
            figure.add_scatter(
                x=list(range(1, len(names) + 1)),
                y=np.clip(values, low, high),
                customdata=np.stack([np.array(names, dtype=object), values.astype(object)], 1),
                mode="lines+markers",
                line={"color": COLORS[variant], "dash": DASHES[variant]},
                marker={"symbol": np.where(outside, "triangle-down", MARKERS[variant]), "size": 7},
                hovertemplate="%{customdata[0]}: %{customdata[1]:.3r}<extra>" + variant + "</extra>",
                row=1,
                col=place,
            )
        if chosen in names:
            at = names.index(chosen) + 1
            figure.add_vrect(at - 0.4, at + 0.4, fillcolor="rgba(128,128,128,0.2)", line_width=0, row=1, col=place)
    figure.add_hline(1, line={"width": 1, "color": "#888"})
    figure.update_yaxes(type="log", range=[np.log10(low), np.log10(high) + 0.05], dtick=1, exponentformat="power")
    figure.update_yaxes(title_text="Σ Var / Σ Var of dense", row=1, col=1)
    figure.update_xaxes(title_text="layer (▼: off scale)")
    table = pd.DataFrame(rows, columns=["view", "variant", "layer", "ratio"])
    return Chart(figure, _ratio_message(table), table)


def _ratio_message(table: pd.DataFrame) -> str:
    trends = [
        f"{' '.join(filter(None, group))}: from {ratio_of(part.ratio.iloc[0])} in the first layer to "
        f"{ratio_of(part.ratio.iloc[-1])} in the last{_overshoot(part)}"
        for group, part in table.groupby(["view", "variant"], sort=False)
    ]
    return f"Variance ratio, {'; '.join(trends)}." if trends else "No layer of this network could be measured."


def _overshoot(part: pd.DataFrame) -> str:
    """How many layers are amplified, where any is."""
    count = int((part.ratio > AMPLIFIED).sum())
    return (
        f" ({count} of {len(part)} layers are amplified, above {AMPLIFIED:g}, which is not a sign of health)"
        if count
        else ""
    )


def answered(views: Views) -> Chart:
    """The collapse plot: the share of the predictions that each class gets, by variant; dotted: an even spread.

    Of many classes those most predicted over all variants, the same in all views with these classes, and the others
    together.
    """
    bars = _bars(views)
    table = _shares(views, bars)
    many = any(shown.rest for shown in bars.values())
    figure = _rows_of_classes(views, table) if many else _columns_of_classes(views, table)
    most_frequent = "; ".join(
        f"{name + ': ' if name else ''}{_most_frequent(diagnosis)}" for name, diagnosis in views.items()
    )
    return Chart(figure, f"Most frequent prediction: {most_frequent}.", table)


def _bars(views: Views) -> dict[str, ShownClasses]:
    """The classes that each view shows: the same where the views have the same classes."""
    alike = {
        classes: shown_classes(
            outcome for view in views.values() if view.classes == classes for outcome in view.outcomes().values()
        )
        for classes in {view.classes for view in views.values()}
    }
    return {name: alike[diagnosis.classes] for name, diagnosis in views.items()}


def _shares(views: Views, bars: Mapping[str, ShownClasses]) -> pd.DataFrame:
    """A row a view, variant and bar, with its share (fraction)."""
    return pd.DataFrame(
        [
            {"view": name, "variant": variant, "class": label, "share": count / summary.n}
            for name, diagnosis in views.items()
            for variant, summary in diagnosis.outcomes().items()
            for label, count in zip(bars[name].names(diagnosis.classes), bars[name].counts(summary), strict=True)
        ]
    )


def _columns_of_classes(views: Views, table: pd.DataFrame) -> go.Figure:
    figure = _beside(views)
    for place, (name, diagnosis) in enumerate(views.items(), 1):
        for variant, rows in table[table.view == name].groupby("variant", sort=False):
            figure.add_bar(
                x=rows["class"].tolist(), y=100 * rows.share, marker={"color": COLORS[str(variant)]}, name=variant,
                hovertemplate="%{x}: %{y:.1f} %<extra>" + str(variant) + "</extra>", row=1, col=place,
            )  # fmt: skip
        even = 100 / len(diagnosis.classes)
        figure.add_hline(even, line={"width": 1, "color": "#888", "dash": "dot"}, row=1, col=place)
    figure.update_yaxes(range=[0, 105])
    figure.update_yaxes(title_text="share of predictions (%)", row=1, col=1)
    figure.update_xaxes(type="category", title_text="predicted class")
    return figure


def _rows_of_classes(views: Views, table: pd.DataFrame) -> go.Figure:
    figure = _beside(views, shared_yaxes=False)
    for place, name in enumerate(views, 1):
        for variant, rows in table[table.view == name].groupby("variant", sort=False):
            figure.add_bar(
                y=rows["class"].tolist(), x=100 * rows.share, marker={"color": COLORS[str(variant)]}, name=variant,
                orientation="h", text=[percent(share) for share in rows.share], textposition="outside",
                hovertemplate="%{y}: %{text}<extra>" + str(variant) + "</extra>", row=1, col=place,
            )  # fmt: skip
    figure.update_layout(height=40 * MOST_PREDICTED + 120)
    figure.update_xaxes(range=[0, 115], title_text="share of predictions (%)")
    figure.update_yaxes(**NAMES_DOWNWARD)
    return figure


def _most_frequent(diagnosis: Diagnosis) -> str:
    return ", ".join(
        f"{variant} “{diagnosis.classes[summary.top_class]}” {percent(summary.top_share)}"
        for variant, summary in diagnosis.outcomes().items()
    )


def _beside(views: Views, shared_yaxes: bool = True) -> go.Figure:
    """A row of plots, one per view, all on the same vertical axis where that is shared."""
    titles, gap = [name for name in views if name], 0.03 if shared_yaxes else 0.2
    figure = make_subplots(
        1, len(views), shared_yaxes=shared_yaxes, horizontal_spacing=gap, subplot_titles=titles or None
    )
    shown = [variant for variant in VARIANTS if any(variant in diagnosis.predictions for diagnosis in views.values())]
    layout: dict[str, Any] = {"height": HEIGHT, "showlegend": False, "hovermode": "closest", "uirevision": "keep"}
    figure.update_layout(title=key(shown), margin={"l": 60, "r": 8, "t": 60 if titles else 34, "b": 46}, **layout)
    return figure
