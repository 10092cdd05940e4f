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
        "A network's name, or ARCHITECTURE@FILE for other weights than its own. Networks on digits ship with the lab; "
        "all others need their public weights, downloaded when you ask for it.",
    )
    data: str = _field(
        "auto",
        "Data",
        "An image set's name, a folder with train/CLASS/*.png and test/CLASS/*.png, a zip or an .npz file; auto: what "
        "the model was trained on. Calibration uses its training images, evaluation its test images, never the other "
        "way round.",
    )
    criterion: str = _field("magnitude", "Criterion", "How weights are scored: the lowest scores are removed.")
    update: str = _field("none", "Update", "What the weights that are left do about it, before any repair.")
    allocation: str = _field("global", "Allocation", "How the sparsity is spread over the layers.")
    pattern: str = _field(
        "unstructured",
        "Pattern",
        "N:M keeps N of every M weights along the input channels, as sparse tensor cores want it; that fixes the "
        "sparsity at 1 − N/M. channel: output channels go whole, with the scale and shift of the norm behind them.",
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
        "LAYER:FRACTION with commas between, such as conv1:0.5,linear:0.9. Allocation custom: exactly these, and the "
        "sparsity for layers not named. Allocation scaled: in these proportions, all together the sparsity.",
    )
    exclude: str = _field(
        "none",
        "Kept dense",
        "Layers that are not pruned: the first convolution, the classifier, both or none. The sparsity then counts "
        "over the others.",
        choices=("none", "first", "classifier", "both"),
    )
    repair: str = _field("reflow", "Repair", "What is done about the signal after pruning.")
    statistics: str = _field(
        "population",
        "Statistics",
        "How REFLOW estimates the moments. population: of the whole calibration set at once, earlier norms already "
        "corrected (exact). pooled: batches merged. batch_mean: plain average of batches, as PyTorch's update_bn. ema: "
        "running average that starts from the stale values.",
        choices=STATISTICS,
    )
    calibration_images: int = _field(
        512, "Calibration images", "Training images to calibrate on, at most.", low=1, high=MOST_IMAGES,
        also="calibration",
    )  # fmt: skip
    calibration_view: str = _field(
        "train",
        "Calibration view",
        "train: augmented as in the network's own training. eval: clean. cifar, imagenet, affine: a view by name. "
        "custom: of the network's own code. What a view costs by itself stands beside dense as “recalibrated”.",
        choices=("train", "eval", "cifar", "imagenet", "affine", "custom"),
    )
    calibration_batch: int = _field(
        128, "Calibration batch", "Images a batch, where the statistics depend on it.", low=1, high=MOST_IMAGES
    )
    calibration_skew: float = _field(
        0.0,
        "Calibration skew",
        "Share of the calibration images taken from a single class, 0 to 1. 0: a fair draw.",
        low=0,
        high=1,
        unit="fraction",
    )
    evaluation_images: int = _field(
        700, "Evaluation images", "Test images to evaluate on, at most.", low=1, high=MOST_IMAGES, also="evaluation"
    )
    evaluation_split: str = _field(
        "test",
        "Evaluated on",
        "test: test images. train: training images that do not calibrate, to choose something by (a budget) without a "
        "look at the test images that are to judge it.",
        choices=("test", "train"),
    )
    evaluation_tail: float = _field(
        1.0,
        "Long tail",
        "How many times rarer the last class is made than the first, by leaving evaluation images out; 1: as they are. "
        "No class gets rare in training by that.",
        low=1,
        high=1000,
        unit="times",
    )
    corruption: str = _field(
        "none",
        "Corruption",
        "Of the evaluation images, NAME:SEVERITY with a severity of 1 to 5. Calibration images stay as they are.",
    )
    quantize_order: str = _field(
        "prune-repair-int8",
        "Order",
        "Of pruning, repair and int8. BatchNorm is folded into the weights when the int8 file is made, so nothing can "
        "be re-estimated after it; prune, repair, then int8 repairs before that. The others fix the grid of the "
        "weights and the ranges of the activations before the repair, or before the selection.",
        choices=QUANTIZE_ORDERS,
        also="quantise_order",
    )
    seed: int = _field(0, "Seed", "Draws the images, the augmentation and random scores.", low=0, high=2**31 - 1)

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
            problems.append(f"{error} Showing {name}={getattr(spec, name)} instead.")
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
            raise ReflowError(f"layer_sparsity={part!r} is not LAYER:FRACTION; write for example conv1:0.5,linear:0.9.")
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
