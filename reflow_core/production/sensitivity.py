"""Sensitivity: what each layer can lose alone, the budget that follows, and what early channels cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reflow_core.diagnosis.fields import as_text, normalize
from reflow_core.diagnosis.point import Point
from reflow_core.diagnosis.statistics import mcnemar
from reflow_core.errors import ReflowError
from reflow_core.numbers import decimal, finite, in_points, p_value, percent, whole_percent
from reflow_core.production.finding import Finding
from reflow_core.pruning.patterns import CHANNEL
from reflow_core.repairs import repairs
from reflow_core.signal.trace import WeightLayer
from reflow_core.spec import MAX_SPARSITY, Spec

COARSE, COARSE_IMAGES = (0.7, 0.9, 0.98), 48  # a first look: shares of each layer, and images
NOTICED, SOME = 0.02, 0.25  # a loss (fraction) that is one, and the share of the layers that have to have one
CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
ALLOCATIONS = ("uniform", "global", "erk", "lamp")
EARLY_SHARE = 0.5
EARLY_REPAIRS = ("none", "reflow", "fine-tune")
UNTOUCHED = "nothing was pruned"


def alone(base: Spec, layers: Iterable[WeightLayer], sparsities: Iterable[float]) -> list[Spec]:
    """One spec a layer and sparsity, in which that layer alone is pruned; sparsity by sparsity, layers in order.

    Measured on training images that do not calibrate, so that the test images can judge what is made of it.
    """
    layers = list(layers)
    return [
        normalize(
            base,
            evaluation_split="train",
            allocation="custom",
            sparsity=0.0,
            layer_sparsity=f"{layer.name}:{share:g}",
        )
        for share in sparsities
        for layer in layers
    ]


def first_look(base: Spec) -> Spec:
    """The spec of a coarse profile, on few images."""
    return base.replace(
        evaluation_images=min(COARSE_IMAGES, base.evaluation_images),
        calibration_images=min(COARSE_IMAGES, base.calibration_images),
    )


def telling_share(table: pd.DataFrame) -> float:
    """The smallest share at which something happens: SOME of the layers lose more than NOTICED there.

    If there is none, the one at which the most is lost. Only shares at which every layer of the table is measured.
    """
    ranked = table[table.ranked]
    losses = ranked.groupby("sparsity").loss_pruned
    whole = losses.size().index[table.groupby("sparsity").size().loc[losses.size().index] == table.layer.nunique()]
    means = losses.apply(lambda lost: float((lost > NOTICED).mean())).loc[whole]
    telling = means.index[means >= SOME]
    if len(telling):
        return float(telling.min())
    return float(losses.max().loc[whole].idxmax()) if len(whole) else float(table.sparsity.max())


def profile(points: Mapping[Spec, Point], layers: Sequence[WeightLayer]) -> pd.DataFrame:
    """A row a layer and sparsity: accuracies (fractions) with their 95 % intervals, losses against dense, cost.

    `points`: those of specs made by `alone`. `loss_pruned`, `loss_repaired`: points of accuracy lost, as fractions.
    `fidelity_loss`: of the repaired network, or of the pruned one without repair (see `Outcome.fidelity`). `ranked`:
    False where nothing was pruned.
    """
    places = {layer.name: (place, layer) for place, layer in enumerate(layers, 1)}
    total = sum(layer.weights for layer in layers)
    rows = []
    for spec, point in points.items():
        name, _, share = spec.layer_sparsity.rpartition(":")
        place, layer = places[name]
        rows.append(
            {"layer": name, "depth": place, "kind": layer.kind, "sparsity": float(share)}
            | {"weights": layer.weights, "multiply_adds": layer.multiply_adds}
            | {"removed": round(point.sparsity * total), "n": point.outcomes["dense"].n}
            | _losses(point)
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table["ranked"] = table.removed > 0
    return table.sort_values(["sparsity", "depth"], ignore_index=True)


def _losses(point: Point) -> dict[str, float | None]:
    dense = point.score("dense")
    row: dict[str, float | None] = {"dense": dense}
    for variant in ("pruned", "repaired"):
        exists = variant in point.outcomes
        low, high = point.interval(variant) if exists else (None, None)
        row |= {
            variant: point.score(variant) if exists else None,
            f"loss_{variant}": dense - point.score(variant) if exists else None,
        }
        row |= {f"{variant}_low": low, f"{variant}_high": high}
    dense_fidelity, fidelity = (finite(point.outcomes[name].fidelity) or 0 for name in ("dense", point.last))
    return row | {"fidelity_loss": dense_fidelity - fidelity}


def finding(base: Spec, table: pd.DataFrame, share: float | None = None) -> Finding:
    """The answer: which layers cannot lose a share of their weights, and whether that depends on depth.

    `share`: the fraction at which layers are ranked; None: the smallest at which something happens (`telling_share`).
    """
    if table.empty:
        return Finding(base, "No layer is measured yet.", {"Layers": table})
    share = telling_share(table) if share is None else share
    at = table[np.isclose(table.sparsity, share)]
    ranked = at[at.ranked]
    if ranked.empty:
        return Finding(base, f"No layer could be pruned at {whole_percent(share)}.", {"Layers": table})
    what = "channels" if base.pattern == CHANNEL else "weights"
    worst = ranked.loc[ranked.loss_pruned.idxmax()]
    after = (
        ""
        if pd.isna(worst.loss_repaired)
        else f", and {in_points(worst.loss_repaired)} after {repairs[base.repair].info.title}"
    )
    safe = int((ranked.loss_pruned <= 0.01).sum())
    where = f"{worst.layer} (layer {worst.depth})"
    if safe == len(ranked):
        verdict = (
            f"no layer costs more than one point: the worst is {where} with {in_points(worst.loss_pruned)}{after}."
        )
    else:
        verdict = (
            f"{where} costs most: {in_points(worst.loss_pruned)}{after}; {safe} of {len(ranked)} layers cost at "
            "most one point."
        )
    answer = f"When a single layer loses {whole_percent(share)} of its {what}, {verdict}"
    trend = depth_trend(ranked)
    unranked = at[~at.ranked].layer.tolist()
    seen = f"Measured on {ranked.n.iloc[0]} held-out training images."
    notes = [trend_sentence(trend, ranked), seen]
    if unranked:
        notes.append(f"Not ranked ({UNTOUCHED}): {', '.join(unranked)}.")
    facts = {"share": share, "trend": trend, "unranked": unranked, "worst": worst.layer} | thirds(ranked)
    return Finding(base, answer, {"Layers": table}, facts, tuple(notes))


def depth_trend(ranked: pd.DataFrame) -> float | None:
    """Spearman's rank correlation of depth and loss, −1 (early layers cost most) to 1; None where one is constant."""
    if len(ranked) < 3 or ranked.loss_pruned.nunique() < 2:
        return None
    return float(ranked.depth.rank().corr(ranked.loss_pruned.rank()))


def thirds(ranked: pd.DataFrame) -> dict[str, float]:
    """Mean loss (fraction) of the first and of the last third of the ranked layers."""
    count = max(1, len(ranked) // 3)
    ordered = ranked.sort_values("depth").loss_pruned
    return {"early": float(ordered.iloc[:count].mean()), "late": float(ordered.iloc[-count:].mean())}


def trend_sentence(trend: float | None, ranked: pd.DataFrame) -> str:
    """How the loss depends on depth, in a sentence."""
    loss = thirds(ranked)
    means = (
        f"The first third of the layers loses {in_points(loss['early'])} on average, the last {in_points(loss['late'])}"
    )
    return (
        f"{means}; no trend over depth."
        if trend is None
        else f"{means}; rank correlation with depth {decimal(trend, 2)}."
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a layer's convex loss curve: from one sparsity to the next, and the loss a weight there."""

    slope: float
    layer: str
    start: float
    end: float


def budget(profiled: pd.DataFrame, sparsity: float) -> dict[str, float]:
    """Sparsity by layer (fractions) that removes `sparsity` of all that can be pruned at the least expected loss.

    The expected loss is the sum over layers of the lower convex hull of the fidelity each lost alone (repaired, where
    a repair was asked for). A sum of convex, piecewise linear functions under one linear constraint is least where the
    segments are taken in the order of their slope. Raises ReflowError where the profile does not reach so far.
    """
    layers = _prunable(profiled)
    segments = sorted(_segments(profiled, layers), key=lambda segment: (segment.slope, segment.start))
    left = sparsity * float(layers.sum())
    shares = dict.fromkeys(profiled.layer.unique(), 0.0)
    for segment in segments:
        taken = min(left, (segment.end - segment.start) * float(layers[segment.layer]))
        shares[segment.layer] += taken / float(layers[segment.layer])
        left -= taken
    if left > 0.5:
        reached = 1 - left / float(layers.sum()) - (1 - sparsity)
        raise ReflowError(
            f"A budget of {whole_percent(sparsity)} is beyond the profile, which reaches {percent(reached)}; "
            "choose less."
        )
    return {name: min(round(share, 4), MAX_SPARSITY) for name, share in shares.items()}


def expected_loss(profiled: pd.DataFrame, shares: Mapping[str, float]) -> float:
    """The sum over layers of the convex loss curve (fraction of fidelity) at each layer's share."""
    total = 0.0
    for name, rows in profiled.groupby("layer"):
        corners = hull(_curve(rows))
        total += float(np.interp(shares.get(str(name), 0.0), [x for x, _ in corners], [y for _, y in corners]))
    return total


def _segments(profiled: pd.DataFrame, weights: pd.Series) -> Iterable[Segment]:
    for name, rows in profiled.groupby("layer", sort=False):
        corners = hull(_curve(rows))
        for (start, low), (end, high) in itertools.pairwise(corners):
            yield Segment((high - low) / ((end - start) * weights[name]), str(name), start, end)


def _curve(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """One layer's loss by sparsity from (0, 0) on, never falling, without points at which nothing was pruned."""
    rows = rows[rows.ranked].sort_values("sparsity")
    losses = np.maximum.accumulate(rows.fidelity_loss.clip(lower=0).to_numpy(dtype=float))
    return [(0.0, 0.0), *zip(rows.sparsity.tolist(), losses.tolist(), strict=True)]


def hull(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the lower convex hull of points in ascending order of x (Andrew's monotone chain)."""
    corners: list[tuple[float, float]] = []
    for x, y in curve:
        while len(corners) > 1 and _above(corners[-2], corners[-1], (x, y)):
            corners.pop()
        corners.append((x, y))
    return corners


def _above(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    return (middle[1] - first[1]) * (last[0] - first[0]) >= (last[1] - first[1]) * (middle[0] - first[0])


def reached(profiled: pd.DataFrame, shares: Mapping[str, float]) -> float:
    """The sparsity (fraction) that shares by layer reach together, over the layers that can be pruned."""
    weights = _prunable(profiled)
    return sum(shares.get(str(name), 0.0) * float(count) for name, count in weights.items()) / float(weights.sum())


def _prunable(profiled: pd.DataFrame) -> pd.Series:
    """Weights by layer of those of which something was pruned at any sparsity: others are kept dense."""
    return profiled[profiled.ranked].drop_duplicates("layer").set_index("layer").weights


def rivals(base: Spec, sparsity: float, shares: Mapping[str, float]) -> dict[str, Spec]:
    """The budget and the usual allocations at the same sparsity, by name; test images judge them."""
    base = base.replace(evaluation_split="test")
    own = normalize(base, allocation="scaled", sparsity=sparsity, layer_sparsity=as_text(shares))
    return {"budget": own} | {name: normalize(base, allocation=name, sparsity=sparsity) for name in ALLOCATIONS}


def compared(base: Spec, sparsity: float, specs: Mapping[str, Spec], points: Mapping[Spec, Point]) -> Finding:
    """The budget beside the usual allocations; each is tested against uniform on the same images (McNemar)."""
    computed = {name: points[spec] for name, spec in specs.items() if spec in points}
    if not {"budget", "uniform"} <= computed.keys():
        return Finding(base, "The budget and uniform pruning are being computed.", {})
    variant = computed["uniform"].last  # pruned, too, where the repair does not apply
    uniform = computed["uniform"].correct.get(variant)
    rows = []
    for name, point in computed.items():
        correct = point.correct.get(variant)
        low, high = point.interval(variant)
        row = {"allocation": name, "accuracy": point.score(variant), "low": low, "high": high}
        row |= {"sparsity": point.sparsity}
        p = None if correct is None or uniform is None or name == "uniform" else mcnemar(correct, uniform)
        rows.append(row | {"p_against_uniform": p})
    table = pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True)
    scores = table.set_index("allocation").accuracy
    best = [name for name in scores.index if name != "budget"][:1]
    gain = scores["budget"] - scores["uniform"]
    p_budget = table.set_index("allocation").p_against_uniform["budget"]
    answer = (
        f"At {whole_percent(sparsity)}, the budget from this profile reaches {percent(float(scores['budget']))} "
        f"and uniform {percent(float(scores['uniform']))} (McNemar {p_value(p_budget)}); the best of the others "
        f"is {best[0]} with {percent(float(scores[best[0]]))}."
    )
    return Finding(base, answer, {"Allocations": table}, {"gain_over_uniform": float(gain)})


def cut_shares(layers: Sequence[WeightLayer], late: bool = False) -> dict[str, float]:
    """By layer name, half of the channels of the first third of the convolutions, or of the last third if `late`."""
    return dict.fromkeys(convolutions(layers, late), EARLY_SHARE)


def cuts(base: Spec, layers: Sequence[WeightLayer]) -> dict[tuple[str, str], Spec]:
    """Early and late channels cut, each with no repair, REFLOW and a fine-tune, by (where, repair)."""
    return {
        (where, repair): normalize(
            base,
            pattern=CHANNEL,
            allocation="custom",
            sparsity=0.0,
            layer_sparsity=as_text(cut_shares(layers, where == "late")),
            repair=repair,
        )
        for where in ("early", "late")
        for repair in EARLY_REPAIRS
    }


def recovered(base: Spec, specs: Mapping[tuple[str, str], Spec], points: Mapping[Spec, Point]) -> Finding:
    """What REFLOW and a fine-tune bring back after half of the early, or of the late, channels are gone."""
    rows = []
    for (where, repair), spec in specs.items():
        if (point := points.get(spec)) is None:
            continue
        variant = "pruned" if repair == "none" else "repaired"
        if variant not in point.outcomes:
            continue
        low, high = point.interval(variant)
        row = {"cut": where, "repair": repair, "accuracy": point.score(variant), "dense": point.score("dense")}
        rows.append(row | {"low": low, "high": high})
    table = pd.DataFrame(rows)
    if table.empty:
        return Finding(base, "No cut could be measured.", {"Cuts": table})
    table["lost"] = table.dense - table.accuracy
    left = [
        f"the loss is {in_points(row.lost)} with {'no repair' if row.repair == 'none' else row.repair}"
        for row in table[table.cut == "early"].itertuples()
    ]
    return Finding(
        base, f"With half of the channels of the early convolutions cut, {', '.join(left)}.", {"Cuts": table}
    )


def convolutions(layers: Sequence[WeightLayer], late: bool = False) -> list[str]:
    """The first third of the convolutions, or the last third, by name; empty without any."""
    names = [layer.name for layer in layers if layer.kind.startswith("Conv")]
    count = -(-len(names) // 3) if len(names) < 3 else len(names) // 3
    return names[len(names) - count :] if late else names[:count]
