"""The spec: everything that decides a diagnosis, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflow_core.errors import ReflowError, unknown

MAX_SPARSITY = 0.99
STATISTICS = ("population", "pooled", "batch_mean", "ema")
CALIBRATION = ("calibration_images", "calibration_view", "calibration_skew")  # which images calibrate
CALIBRATION_VIEWS = ("train", "eval", "cifar", "imagenet", "affine", "custom")
PATTERNS = ("unstructured", "2:4", "1:4", "4:8", "channel")
EXCLUDES = ("none", "first", "classifier", "both")
EVALUATION = ("evaluation_images", "evaluation_tail", "corruption", "seed")  # which images are evaluated, and how
QUANTISE_ORDERS = ("prune-repair-int8", "prune-int8-repair", "int8-prune-repair")


@dataclass(frozen=True, slots=True)
class Spec:
    """One question to the lab; hashable, and the same everywhere: URL, store key, command line, sweep.

    `model`, `criterion`, `update`, `allocation`, `repair`: names in the registries. `data`: an image set's name, or
    "auto" for the one the model was trained on. `pattern`: "unstructured", "N:M" (keep N of every M along the input
    channels, which fixes the sparsity) or "channel" (whole output channels). `sparsity`: fraction of the weights that
    may be pruned set to zero, 0 to 0.99. `layer_sparsity`: for the allocation "custom", as "conv1:0.5,linear:0.9";
    other layers get `sparsity`. `exclude`: layers that stay dense, the first convolution, the classifier, both or none.
    `statistics`: how REFLOW estimates moments. `calibration_view`: "train" (augmented as in the model's own training),
    "eval" (clean), a view by name, or "custom" (of the model's own code).
    `calibration_batch`: images a batch where `statistics` depends on it. `calibration_skew`: share of the calibration
    images that come from one class, beyond a fair draw. `calibration_images`, `evaluation_images`: how many to use at
    most. `evaluation_tail`: how many times rarer the last class is than the first, 1 for the data as they are.
    `corruption`: of the evaluation images, "none" or "NAME:SEVERITY". `quantise_order`: of pruning, repair and int8
    rounding where that is looked at. `seed`: draws the images, the augmentation and random scores.

    Raises ReflowError where a value is out of range. Which values mean nothing beside the others depends on what the
    methods read: see `diagnose.idle`.
    """

    model: str = "resnet20-digits"
    data: str = "auto"
    criterion: str = "magnitude"
    update: str = "none"
    allocation: str = "global"
    pattern: str = "unstructured"
    sparsity: float = 0.8
    layer_sparsity: str = ""
    exclude: str = "none"
    repair: str = "reflow"
    statistics: str = "population"
    calibration_images: int = 512
    calibration_view: str = "train"
    calibration_batch: int = 128
    calibration_skew: float = 0.0
    evaluation_images: int = 700
    evaluation_tail: float = 1.0
    corruption: str = "none"
    quantise_order: str = "prune-repair-int8"
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, getattr(self, field.name)))
        _in_range("sparsity", self.sparsity, 0, MAX_SPARSITY)
        for name in ("calibration_images", "evaluation_images", "calibration_batch"):
            _in_range(name, getattr(self, name), 1, 1_000_000)
        _in_range("calibration_skew", self.calibration_skew, 0, 1)
        _in_range("evaluation_tail", self.evaluation_tail, 1, 1000)
        by_layer(self.layer_sparsity)
        _in_range("seed", self.seed, 0, 2**31 - 1)
        _one_of("statistics", self.statistics, STATISTICS)
        _one_of("calibration_view", self.calibration_view, CALIBRATION_VIEWS)
        _one_of("pattern", self.pattern, PATTERNS)
        _one_of("exclude", self.exclude, EXCLUDES)
        _one_of("quantise_order", self.quantise_order, QUANTISE_ORDERS)

    def to_dict(self) -> dict[str, str | float | int]:
        """All fields by name, in order."""
        return dataclasses.asdict(self)

    def canonical(self) -> str:
        """JSON with sorted keys and no spaces: equal specs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    def differences(self) -> dict[str, str | float | int]:
        """Only the fields that differ from the defaults: the URL's parameters and the command line's options."""
        return {name: value for name, value in self.to_dict().items() if value != DEFAULTS[name]}

    def replace(self, **changes: str | float | int) -> Spec:
        """A copy with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


DEFAULTS: dict[str, str | float | int] = {field.name: field.default for field in dataclasses.fields(Spec)}  # type: ignore[misc]


def read(values: Mapping[str, str]) -> tuple[Spec, list[str]]:
    """A spec from text such as a URL's parameters, and a sentence for each value that was set aside.

    Names that are no field of a spec are ignored; a bad value falls back to its default.
    """
    spec, problems = Spec(), []
    for name in DEFAULTS:
        if name not in values:
            continue
        try:
            spec = spec.replace(**{name: values[name]})
        except ReflowError as error:
            problems.append(f"{error} Showing {name}={getattr(spec, name)} instead.")
    return spec, problems


def parted(model: str) -> tuple[str, str]:
    """A model's name as (architecture, checkpoint), the latter "" for its own weights: ARCHITECTURE@CHECKPOINT."""
    architecture, _, checkpoint = model.partition("@")
    return architecture, checkpoint


def by_layer(text: str) -> dict[str, float]:
    """ "conv1:0.5,linear:0.9" as fractions by layer name. Raises ReflowError for anything else."""
    found = {}
    for part in filter(None, text.split(",")):
        name, colon, share = part.rpartition(":")
        try:
            found[name.strip()] = float(share)
        except ValueError:
            colon = ""
        if not (colon and name.strip()):
            raise ReflowError(f"layer_sparsity={part!r} is not LAYER:FRACTION; write for example conv1:0.5,linear:0.9.")
        _in_range(f"layer_sparsity of {name.strip()}", found[name.strip()], 0, MAX_SPARSITY)
    return found


def _typed(name: str, value: Any) -> str | float | int:
    kind = type(DEFAULTS[name])
    try:
        if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
            raise ValueError
        number: str | float | int = kind(value)
    except (TypeError, ValueError, OverflowError):
        wanted = {int: "a whole number", float: "a number", str: "a name"}[kind]
        raise ReflowError(f"{name}={value!r} is not {wanted}; the default is {DEFAULTS[name]}.") from None
    return number


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ReflowError(f"{name}={value} is out of range; choose {low} to {high}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown(name, value, known)
