"""How soon a sweep's curve is right: the worst error between its points, by the order in which they are computed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reflow_core import Library, Spec
from reflow_core.lab.curve import drawn_of, next_to_compute
from reflow_core.lab.executors import threads
from reflow_core.lab.request import Context
from reflow_core.lab.store import Store
from reflow_core.lab.sweep import SCRUB, along, coarse_first, pack
from reflow_core.machine import prepare
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import SHIPPED
from tests.benchmarks.core import SHARED, Row

POINTS, ASKED = 9, 6.0  # points of accuracy off at most, after so many sparsities
Curves = NDArray[np.float64]  # (sparsities, variants)


def curve() -> Iterator[Row]:
    """Each network's finished sweep of 100 points once; then orders are replayed on it."""
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        context = Context(Library(EVERYTHING), Store(Path(folder)))
        for name, spec in _subjects().items():
            packed = _swept(spec, context)
            curves = _curves(packed)
            before, after = (_errors(curves, order) for order in (coarse_first(range(len(SCRUB))), _order(packed)))
            note = f"before {before[POINTS - 1]:.1f}, best possible choice {_best(curves, POINTS):.1f}; "
            note += f"within {ASKED:g} from point {_within(after)} on, before from {_within(before)} on"
            yield Row(f"points off after {POINTS} sparsities, {name}", ASKED, after[POINTS - 1], note=note)


def _subjects() -> dict[str, Spec]:
    """Every shipped network, and the public CIFAR-10 ResNet-20 where it is."""
    subjects = {file.stem: Spec(file.stem) for file in sorted(SHIPPED.glob("*.safetensors"))}
    weights, data = SHARED / "weights" / "resnet20-12fca82f.th", SHARED / "data" / "cifar10_sample.npz"
    if weights.is_file() and data.is_file():
        public = Spec(f"resnet20-cifar10@{weights}", str(data), evaluation_images=600, calibration_images=256)
        subjects["public ResNet-20"] = public
    return subjects


def _swept(spec: Spec, context: Context) -> list[dict[str, object]]:
    """The packed points of the whole sweep, by sparsity."""
    with threads(context) as submit:
        return [pack(future.result()) for future in [submit(at) for at in along(spec)]]


def _curves(packed: Sequence[dict[str, object]]) -> Curves:
    """Accuracy of the pruned and the repaired network in points; of the pruned alone where no repair applies."""
    scores = [point["score"] for point in packed]
    assert all(isinstance(score, dict) for score in scores)
    variants = [name for name in ("pruned", "repaired") if all(name in score for score in scores)]  # type: ignore[operator]
    return np.array([[100 * score[name] for name in variants] for score in scores])  # type: ignore[index]


def _order(packed: Sequence[dict[str, object]]) -> list[int]:
    """The order in which the sweep of a page would compute them."""
    drawn = [drawn_of(point["score"], point["ratio"]) for point in packed]  # type: ignore[arg-type]
    known: dict[float, int] = {}
    while len(known) < len(SCRUB):
        (chosen,) = next_to_compute({at: drawn[place] for at, place in known.items()}, SCRUB)
        known[chosen] = SCRUB.index(chosen)
    return list(known.values())


def _errors(curves: Curves, order: Sequence[int]) -> list[float]:
    """The worst error after each point, of the lines that the page draws."""
    return [_off(curves, sorted(order[: count + 1])) for count in range(len(order))]


def _off(curves: Curves, places: Sequence[int]) -> float:
    """The largest distance of the curves from the lines between some of their points, flat beyond the outermost."""
    lines = [np.interp(range(len(curves)), places, column[list(places)]) for column in curves.T]
    return float(np.abs(curves - np.array(lines).T).max())


def _within(errors: Sequence[float]) -> int:
    """The number of points from which on the error stays within what is asked."""
    return 1 + max((place + 1 for place, error in enumerate(errors) if error > ASKED), default=0)


def _best(curves: Curves, count: int) -> float:
    """The worst error of the best `count` sparsities that one who knows the curve could choose, both ends among them.

    Exact: the least largest error of `count` - 1 pieces, by dynamic programming over where a piece ends.
    """
    last = len(curves) - 1
    piece: Callable[[int, int], float] = lambda left, right: _off(curves[left : right + 1], [0, right - left])  # noqa: E731
    errors = np.array(
        [[piece(left, right) if left < right else 0.0 for right in range(last + 1)] for left in range(last)]
    )
    worst = errors[0]
    for _ in range(count - 2):
        worst = np.array(
            [
                min(max(worst[left], errors[left, right]) for left in range(min(right + 1, last)))
                for right in range(last + 1)
            ]
        )
    return float(worst[last])


BENCHMARKS = (curve,)
