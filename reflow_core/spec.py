"""The spec: everything that decides a diagnosis, and nothing else. Each field is described here, once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflow_core.errors import ReflowError, shortened, unknown

MAX_SPARSITY = 0.99
STATISTICS = ("population", "pooled", "batch_mean", "ema")
CALIBRATION = ("calibration_images", "calibration_view", "calibration_skew")  # which images calibrate
STAGES = ONE_SHOT, STAGED = "one-shot", "staged"
PATTERNS = ("unstructured", "2:4", "1:4", "4:8", "channel")
EVALUATION = (
    "evaluation_images",
    "evaluation_split",
    "evaluation_tail",
    "corruption",
    "seed",
)  # which images evaluate, and how
QUANTIZE_ORDERS = ("prune-repair-int8", "prune-int8-repair", "int8-prune-repair")
MOST_IMAGES = 1_000_000
UPLOAD = "upload:"  # begins the name of a file that one visitor brought


@dataclass(frozen=True, slots=True)
class About:
    """What a field of the spec is: the sidebar, the command line and the documents read it here.

    `label`: its name on a page. `help`: one or two sentences. `low`, `high`: the range of a number. `choices`: of a
    text that takes no other. `unit`: of a number, "" for a count. `also`: an older or shorter name, still understood.
    """

    label: str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    also: str = ""


def _field(default: str | float | int, label: str, help: str, **more: Any) -> Any:
    return dataclasses.field(default=default, metadata={"about": About(label, help, **more)})


@dataclass(frozen=True, slots=True)
class Spec:
    """One question to the lab; hashable, and the same everywhere: URL, store key, command line, sweep.

    What each field means stands beside it. Raises ReflowError where a value is out of range. Which values mean nothing
    beside the others depends on what the methods read: see `diagnosis.fields.unused_fields`.
    """

    model: str = _field(
        "resnet20-digits",
        "Model",
        "A network's name, or ARCHITECTURE@FILE to load your own weights into it.",
    )
    data: str = _field(
        "auto",
        "Data",
        "An image set's name, a folder or zip of train/CLASS/*.png and test/CLASS/*.png, or an .npz file; auto: "
        "the data the model was trained on.",
    )
    criterion: str = _field("magnitude", "Criterion", "How weights are scored; the lowest scores are removed.")
    update: str = _field("none", "Update", "How the remaining weights are adjusted before any repair.")
    allocation: str = _field("global", "Allocation", "How the sparsity is distributed over the layers.")
    pattern: str = _field(
        "unstructured",
        "Pattern",
        "N:M keeps N of every M weights along the input channels, as sparse tensor cores require; channel "
        "removes whole output channels.",
        choices=PATTERNS,
    )
    sparsity: float = _field(
        0.8,
        "Sparsity",
        "Fraction of all convolution and linear weights set to zero, 0 to 0.99.",
        low=0,
        high=MAX_SPARSITY,
        unit="fraction",
    )
    layer_sparsity: str = _field(
        "",
        "Sparsity by layer",
        "LAYER:FRACTION separated by commas, such as conv1:0.5,linear:0.9; allocation custom uses these values, "
        "scaled scales them to reach the sparsity.",
    )
    exclude: str = _field(
        "none",
        "Kept dense",
        "Layers that are not pruned; the sparsity then counts the other layers only.",
        choices=("none", "first", "classifier", "both"),
    )
    stages: str = _field(
        ONE_SHOT,
        "Stages",
        "one-shot prunes once and repairs once; staged prunes a part, repairs, and chooses again from the repaired "
        "weights, until the sparsity is reached.",
        choices=STAGES,
    )
    repair: str = _field("reflow", "Repair", "How the network is repaired after pruning.")
    statistics: str = _field(
        "population",
        "Statistics",
        "How REFLOW estimates means and variances: population (the whole set, exact), pooled (merged batches), "
        "batch_mean (averaged batches, as PyTorch's update_bn) or ema (a running average).",
        choices=STATISTICS,
    )
    calibration_images: int = _field(
        512, "Calibration images", "Maximum number of training images to calibrate on.", low=1, high=MOST_IMAGES,
        also="calibration",
    )  # fmt: skip
    calibration_view: str = _field(
        "train",
        "Calibration view",
        "How calibration images are augmented: train (as in training), eval (not at all), cifar, imagenet or "
        "affine (by name), or custom (by the network's own code).",
        choices=("train", "eval", "cifar", "imagenet", "affine", "custom"),
    )
    calibration_batch: int = _field(
        128, "Calibration batch", "Images per batch, where the statistics depend on it.", low=1, high=MOST_IMAGES
    )
    epochs: int = _field(20, "Epochs", "Passes over the calibration images, where a repair trains.", low=1, high=200)
    calibration_skew: float = _field(
        0.0,
        "Calibration skew",
        "Share of the calibration images taken from a single class, 0 (random draw) to 1.",
        low=0,
        high=1,
        unit="fraction",
    )
    evaluation_images: int = _field(
        700,
        "Evaluation images",
        "Maximum number of test images to evaluate on.",
        low=1,
        high=MOST_IMAGES,
        also="evaluation",
    )
    evaluation_split: str = _field(
        "test",
        "Evaluated on",
        "test evaluates on test images; train on held-out training images, to choose a budget without looking "
        "at test images.",
        choices=("test", "train"),
    )
    evaluation_tail: float = _field(
        1.0,
        "Long tail",
        "How many times rarer the last class is than the first, by dropping evaluation images; 1 keeps all.",
        low=1,
        high=1000,
        unit="times",
    )
    corruption: str = _field(
        "none",
        "Corruption",
        "Corruption of the evaluation images as NAME:SEVERITY, severity 1 to 5; calibration images stay clean.",
    )
    quantize_order: str = _field(
        "prune-repair-int8",
        "Order",
        "Order of pruning, repair and int8; only the default repairs before BatchNorm is folded and the int8 "
        "ranges are fixed.",
        choices=QUANTIZE_ORDERS,
        also="quantise_order",
    )
    seed: int = _field(0, "Seed", "Seed of the image draw, the augmentation and random scores.", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        for name, about in ABOUT.items():
            object.__setattr__(self, name, _typed(name, getattr(self, name)))
            if about.low is not None and about.high is not None:
                _in_range(name, getattr(self, name), about.low, about.high)
            if about.choices:
                _one_of(name, getattr(self, name), about.choices)
        by_layer(self.layer_sparsity)

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


ABOUT: dict[str, About] = {field.name: field.metadata["about"] for field in dataclasses.fields(Spec)}
DEFAULTS: dict[str, str | float | int] = {field.name: field.default for field in dataclasses.fields(Spec)}  # type: ignore[misc]


def read(values: Mapping[str, str]) -> tuple[Spec, list[str]]:
    """A spec from text such as a URL's parameters, and a sentence for each value that was set aside.

    Names that are no field of a spec are ignored; a bad value falls back to its default.
    """
    spec, problems = Spec(), []
    for name, about in ABOUT.items():
        if (given := values.get(name, values.get(about.also))) is None:
            continue
        try:
            spec = spec.replace(**{name: given})
        except ReflowError as error:
            problems.append(f"{error} Using {name}={getattr(spec, name)} instead.")
    return spec, problems


def parted(model: str) -> tuple[str, str]:
    """A model's name as (architecture, checkpoint), the latter "" for its own weights: ARCHITECTURE@CHECKPOINT."""
    architecture, _, checkpoint = model.partition("@")
    return architecture, checkpoint


def is_upload(name: str) -> bool:
    """Whether a name is that of a visitor's file: "upload:" and the first digits of its SHA-256."""
    return name.startswith(UPLOAD)


def needs_upload(model: str, data: str) -> bool:
    """Whether a model's or data's name needs a visitor's file."""
    return is_upload(data) or is_upload(parted(model)[1])


def by_layer(text: str) -> dict[str, float]:
    """ "conv1:0.5,linear:0.9" as fractions by layer name. Raises ReflowError for anything else."""
    shares = {}
    for part in filter(None, text.split(",")):
        name, colon, share = part.rpartition(":")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            colon = ""
        if not (colon and name.strip()):
            raise ReflowError(f"layer_sparsity={part!r} is not LAYER:FRACTION; an example is conv1:0.5,linear:0.9.")
        _in_range(f"layer_sparsity of {name.strip()}", shares[name.strip()], 0, MAX_SPARSITY)
    return shares


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
    if not low <= value <= high:
        raise ReflowError(f"{name}={shortened(str(value))} is out of range; choose {low} to {high}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown(name, value, known)
