"""The same diagnosis over several seeds: what the draw of the calibration images adds to the interval over images."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.point import Point
from reflow_core.numbers import in_points, percent
from reflow_core.production.finding import Finding
from reflow_core.spec import Spec

DRAWS = 5


def draws(base: Spec, count: int = DRAWS) -> list[Spec]:
    """The spec under `count` seeds, its own first. A seed draws the calibration images and their augmentation.

    It also draws which test images evaluate where there are more than were asked for, and random scores.
    """
    return [normalize(base, seed=base.seed + extra) for extra in range(count)]


def spread(base: Spec, points: Mapping[Spec, Point]) -> Finding:
    """Each seed's accuracy by variant, and how far they lie apart, beside the interval over images of the first."""
    rows = [
        {"seed": spec.seed, "n": point.outcomes["dense"].n}
        | {variant: point.score(variant) for variant in point.outcomes}
        for spec, point in sorted(points.items(), key=lambda item: item[0].seed)
    ]
    table = pd.DataFrame(rows)
    first = points.get(base)
    if first is None or len(table) < 2:
        return Finding(base, "The other seeds are being computed.", {"Seeds": table})
    scores = table[first.last]
    low, high = first.interval(first.last)
    over_images = "" if low is None else f"; the 95 % interval over images is {percent(low)} to {percent(high)}"
    answer = (
        f"Over {len(table)} seeds, each with its own calibration images, the {first.last} network reaches "
        f"{percent(scores.min())} to {percent(scores.max())} (mean {percent(scores.mean())}, standard deviation "
        f"{in_points(scores.std())}{over_images})."
    )
    return Finding(base, answer, {"Seeds": table}, {"mean": float(scores.mean()), "std": float(scores.std())})
