"""Slices: what an aggregate hides by class, rarity, confidence, any column, under corruption; is it fit to release?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reflow_core.diagnosis.calibration import evaluated_split, evaluation, evaluation_order
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import Point
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.statistics import wilson
from reflow_core.errors import ReflowError
from reflow_core.images.corruptions import CLEAN, SEVERITIES, corruptions, parsed
from reflow_core.images.image_set import ImageSet
from reflow_core.numbers import in_points, percent, points_between
from reflow_core.production import gate
from reflow_core.production.columns import read_table
from reflow_core.production.finding import Finding
from reflow_core.production.gate import Limits
from reflow_core.spec import Spec

CONFIDENCE = (0.0, 0.5, 0.8, 0.95, 1.0)  # edges of the bins of the dense network's confidence
BINS = 4  # of a column of numbers: quartiles
MOST_VALUES = 30  # of a column of words; the others are put together
SHOWN = 3  # undecided limits that are told one by one
INDEX = "image"  # the column of a CSV that names test images by number, from 0


def columns(spec: Spec, images: ImageSet, file: Path | IO[bytes] | pd.DataFrame | None = None) -> pd.DataFrame:
    """One row an evaluation image: brightness and contrast (0 to 1) of its pixels, then the columns of a CSV file.

    The file, or the table that `read_table` made of it, has one row a test image in their order, or names them by
    number in a column "image". Raises ReflowError.
    """
    pixels = evaluation(spec, images).pixels.float().flatten(1) / 255
    measured = pd.DataFrame({"brightness": pixels.mean(1).numpy(), "contrast": pixels.std(1).numpy()})
    if file is None:
        return measured
    order = evaluation_order(spec, images).numpy()
    count = len(evaluated_split(spec, images))
    return pd.concat([measured, _read_columns(file, count).loc[order].reset_index(drop=True)], axis=1)


def _read_columns(file: Path | IO[bytes] | pd.DataFrame, count: int) -> pd.DataFrame:
    """The columns of a CSV by the number of the test image."""
    table = file if isinstance(file, pd.DataFrame) else read_table(file)
    if INDEX in table:
        if not pd.api.types.is_integer_dtype(table[INDEX]):
            raise ReflowError(
                f"The column {INDEX!r} has values that are not whole numbers; number the test images from 0."
            )
        if not table[INDEX].is_unique:
            raise ReflowError(f"The column {INDEX!r} has some images twice; use one row per image.")
        return table.set_index(INDEX).reindex(range(count))
    if len(table) != count:
        raise ReflowError(
            f"The CSV has {len(table)} rows and the data {count} test images; use one row per image, or number "
            f"them from 0 in a column {INDEX!r}."
        )
    return table


def groups(diagnosis: Diagnosis, also: pd.DataFrame | None = None) -> dict[str, pd.Series]:
    """The slice of each evaluation image, by what it is sliced by. Raises ReflowError without labels."""
    if diagnosis.labels is None:
        raise ReflowError("Slices need labeled evaluation images; these have no labels.")
    labels = pd.Series(diagnosis.labels)
    counts = labels.map(labels.value_counts())
    names = np.array(diagnosis.classes)
    sliced = {
        "class": pd.Series(names[diagnosis.labels]),
        "rarity": _rarity(counts),
        "confidence": _confidence(diagnosis.predictions["dense"].confidence),
    }
    if also is not None:
        sliced |= {str(name): binned(also[name]) for name in also.columns}
    return sliced


def _rarity(counts: pd.Series) -> pd.Series:
    """Thirds of the classes by how many images they have, where they differ."""
    sizes = np.sort(counts.unique())
    if len(sizes) < 3:
        return counts.map(lambda size: f"{size} images per class")
    rare, common = sizes[len(sizes) // 3 - 1], sizes[-(len(sizes) // 3)]
    words = [f"rare, to {rare} images", "between", f"common, from {common}"]
    return counts.map(lambda size: words[0] if size <= rare else words[2] if size >= common else words[1])


def _confidence(confidence: NDArray[np.float32]) -> pd.Series:
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(CONFIDENCE)]
    return pd.Series(pd.cut(confidence.astype(float), CONFIDENCE, labels=names, include_lowest=True).astype(str))


def binned(values: pd.Series) -> pd.Series:
    """Slices of a column: quartiles of numbers with more than a few values, words as they are, "missing" for no value.

    Of words the most frequent are kept, the rest is "other".
    """
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and values.nunique() > BINS:
        cut = pd.qcut(values, BINS, duplicates="drop", precision=3)
        named = cut.map(lambda part: f"{part.left:g} to {part.right:g}", na_action="ignore").astype(object)
    else:
        named = values.astype(object).map(str, na_action="ignore")
        frequent = named.value_counts().index[:MOST_VALUES]
        named = named.where(named.isin(frequent) | named.isna(), "other")
    return named.where(named.notna(), "missing")


def slices(diagnosis: Diagnosis, also: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row a slice: `by`, `slice`, n, and accuracy by variant with its 95 % interval (fractions), and what was lost.

    The first row is all images. `lost_*`: dense's accuracy minus the variant's. Raises ReflowError without labels.
    """
    sliced = {"all": pd.Series(["all"] * len(diagnosis.predictions["dense"].predicted))} | groups(diagnosis, also)
    correct = {name: predictions.predicted == diagnosis.labels for name, predictions in diagnosis.predictions.items()}
    rows = [
        {"by": by, "slice": name, "n": int(inside.sum())} | _scores(correct, inside.to_numpy())
        for by, parts in sliced.items()
        for name, inside in ((name, parts == name) for name in _ordered(by, parts, diagnosis.classes))
    ]
    return pd.DataFrame(rows)


def _ordered(by: str, parts: pd.Series, classes: tuple[str, ...]) -> list[str]:
    """Slices in the order in which one reads them: classes as they are, numbers ascending, words by frequency."""
    names = list(parts.unique())
    if by == "class":
        return [name for name in dict.fromkeys(classes) if name in names]
    starts = {name: _start(name) for name in names}
    if all(start is not None or name == "missing" for name, start in starts.items()):
        return sorted(names, key=lambda name: np.inf if starts[name] is None else float(starts[name] or 0))
    return list(parts.value_counts().index)


def _start(name: str) -> float | None:
    """Where a bin "LOW to HIGH" begins, None for a word."""
    low, to, _ = name.partition(" to ")
    try:
        return float(low) if to else None
    except ValueError:
        return None


def _scores(correct: Mapping[str, NDArray[np.bool_]], inside: NDArray[np.bool_]) -> dict[str, float]:
    row: dict[str, float] = {}
    count = int(inside.sum())
    for variant, right in correct.items():
        hits = int(right[inside].sum())
        low, high = wilson(hits, count)
        row |= {variant: hits / count, f"{variant}_low": low, f"{variant}_high": high}
    return row | {f"lost_{variant}": row["dense"] - row[variant] for variant in correct if variant != "dense"}


def by_class(diagnosis: Diagnosis) -> pd.DataFrame:
    """A row a class and variant: n, predictions of the class, recall and precision (fractions; None for 0 of 0)."""
    assert diagnosis.labels is not None
    rows = []
    for variant in diagnosis.predictions:
        counts = confusion(diagnosis, variant)
        for place, name in enumerate(diagnosis.classes):
            n, predicted, hits = int(counts[place].sum()), int(counts[:, place].sum()), int(counts[place, place])
            row = {"variant": variant, "class": name, "n": n, "answered": predicted}
            rates = {"recall": hits / n if n else None, "precision": hits / predicted if predicted else None}
            rows.append(row | rates)
    return pd.DataFrame(rows)


def confusion(diagnosis: Diagnosis, variant: str) -> NDArray[np.int64]:
    """Images by true class (rows) and predicted class (columns), (K, K)."""
    assert diagnosis.labels is not None
    classes, predicted = len(diagnosis.classes), diagnosis.predictions[variant].predicted
    counts = np.bincount(classes * diagnosis.labels + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def finding(diagnosis: Diagnosis, also: pd.DataFrame | None, limits: Limits, variant: str = "") -> Finding:
    """The aggregate beside the worst slice, and whether the network may be released. Raises ReflowError."""
    table, variant = slices(diagnosis, also), variant or diagnosis.last
    correct = [diagnosis.predictions[name].predicted == diagnosis.labels for name in ("dense", variant)]
    checks = gate.judge(correct[0], correct[1], groups(diagnosis, also), limits)
    outcome = gate.outcome(checks)
    worst, facts = _worst(table, variant, limits.least)
    counts = {
        each: sum(check.outcome == each for check in checks) for each in (gate.PASSES, gate.FAILS, gate.UNDECIDED)
    }
    answer = (
        f"The {variant} network loses {in_points(table.iloc[0][f'lost_{variant}'])} overall{worst}. Of "
        f"{len(checks)} limits, {counts[gate.PASSES]} are met, {counts[gate.FAILS]} are not, "
        f"{counts[gate.UNDECIDED]} are undecided."
    )
    small = int(((table.by != "all") & (table.n < limits.least)).sum())
    few = [f"{small} slices have fewer than {limits.least} images and are not tested."] if small else []
    facts |= {"variant": variant, "overall": checks[0].measured, "gate": outcome, "limits": counts}
    tables = {"Slices": table, "Limits": gate.table(checks), "Classes": by_class(diagnosis)}
    passed = {gate.PASSES: True, gate.FAILS: False}.get(outcome)
    return Finding(diagnosis.spec, answer, tables, facts, (*_reasons(checks), *few), passed)


def _worst(table: pd.DataFrame, variant: str, least: int) -> tuple[str, dict[str, Any]]:
    """The slice that lost most among those of `least` images: a part of a sentence, and facts."""
    parts = table[(table.by != "all") & (table.n >= least)]
    if parts.empty:
        return "", {}
    worst = parts.loc[parts[f"lost_{variant}"].idxmax()]
    sentence = (
        f", and {points_between(worst.dense, worst[variant])} on its worst slice, {worst.by} {worst.slice} (n = "
        f"{worst.n}, dense {percent(worst.dense)}, {variant} {percent(worst[variant])})"
    )
    return sentence, {"worst": f"{worst.by}/{worst.slice}", "worst_loss": float(worst[f"lost_{variant}"])}


def _reasons(checks: Sequence[gate.Check]) -> Iterator[str]:
    """A sentence for each limit that is broken, and for those undecided that are nearest to being so."""
    yield from (f"Not met: {check.sentence()}." for check in checks if check.outcome == gate.FAILS)
    open_ones = sorted((check for check in checks if check.outcome == gate.UNDECIDED), key=lambda check: -check.score)
    yield from (f"Undecided: {check.sentence()}." for check in open_ones[:SHOWN])
    if len(open_ones) > SHOWN:
        yield f"{len(open_ones) - SHOWN} more are undecided (see the table Limits)."


def shifted(base: Spec, names: Iterable[str] = (), severities: Iterable[int] = SEVERITIES) -> list[Spec]:
    """The spec on clean images and under every corruption and severity, the mildest first."""
    chosen, severities = list(names) or list(corruptions.names()), list(severities)
    kinds = [f"{name}:{severity}" for severity in severities for name in chosen]
    return [normalize(base, corruption=kind) for kind in (CLEAN, *kinds)]


def shifts(points: Mapping[Spec, Point]) -> pd.DataFrame:
    """A row a corruption and severity: accuracy by variant with its 95 % interval (fractions), severity 0 for clean."""
    table = pd.DataFrame(list(_shift_rows(points)))
    return table if table.empty else table.sort_values(["corruption", "severity"], ignore_index=True)


def _shift_rows(points: Mapping[Spec, Point]) -> Iterator[dict[str, object]]:
    for spec, point in points.items():
        name, severity = (CLEAN, 0) if spec.corruption == CLEAN else parsed(spec.corruption)
        scores = {variant: outcome.accuracy for variant, outcome in point.outcomes.items()}
        edges = {
            f"{variant}_{end}": value
            for variant in scores
            for end, value in zip(("low", "high"), point.interval(variant), strict=True)
        }
        yield {"corruption": name, "severity": severity, **scores, **edges}


def shift_finding(base: Spec, table: pd.DataFrame) -> Finding:
    """Whether pruning and repair make the network more brittle than the dense one is."""
    corrupted = table[table.severity > 0] if not table.empty else table
    clean = table[table.severity == 0] if not table.empty else table
    if corrupted.empty or clean.empty or clean.iloc[0].get("dense") is None:
        return Finding(base, "No corruption is measured yet.", {"Corruptions": table})
    variant = "repaired" if "repaired" in table else "pruned"
    extra = (corrupted.dense - corrupted[variant]) - (clean.iloc[0].dense - clean.iloc[0][variant])
    worst = corrupted.loc[extra.idxmax()]
    answer = (
        f"On clean images the {variant} network is {in_points(clean.iloc[0].dense - clean.iloc[0][variant])} "
        f"below dense; over the corruptions {in_points((corrupted.dense - corrupted[variant]).mean())} on "
        f"average, at worst {points_between(worst.dense, worst[variant])} ({worst.corruption}, severity "
        f"{worst.severity}: dense {percent(worst.dense)}, {variant} {percent(worst[variant])})."
    )
    facts = {"variant": variant, "worst": f"{worst.corruption}:{worst.severity}"}
    return Finding(base, answer, {"Corruptions": table}, facts)
