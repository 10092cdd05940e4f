"""What commands share: a spec from options, the library it asks, the store it uses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reflow_core.images.corruptions import corruptions
from reflow_core.lab.store import Store
from reflow_core.machine import devices
from reflow_core.present.snippets import flag
from reflow_core.pruning.allocations import allocations
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.updates import updates
from reflow_core.repairs import repairs
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import Library
from reflow_core.spec import DEFAULTS, QUANTISE_ORDERS, Spec, parted

OPTIONS = {
    "model": "a network's name, or ARCHITECTURE@FILE for other weights; 'models' lists them",
    "data": "an image set's name, a folder with train/CLASS/*.png and test/CLASS/*.png, or an .npz file",
    "criterion": f"how weights are scored: {', '.join(criteria.names())}",
    "update": f"what the weights that are left do about it: {', '.join(updates.names())}",
    "allocation": f"how the sparsity is spread over the layers: {', '.join(allocations.names())}",
    "pattern": "unstructured, whole output channels (channel), or N:M, which fixes the sparsity",
    "sparsity": "fraction of the weights removed, 0 to 0.99",
    "layer_sparsity": "for --allocation custom, as conv1:0.5,linear:0.9",
    "exclude": "layers kept dense: none, first, classifier, both",
    "repair": f"what is done about it: {', '.join(repairs.names())}",
    "statistics": "REFLOW's estimate: population, pooled, batch_mean, ema",
    "calibration_images": "training images to calibrate on",
    "calibration_view": "train (augmented as in training) or eval",
    "calibration_batch": "images a batch for pooled, batch_mean and ema",
    "calibration_skew": "share of the calibration images taken from one class, 0 to 1",
    "evaluation_images": "images to evaluate on",
    "evaluation_tail": "how many times rarer the last class is made than the first",
    "corruption": "of the evaluation images, NAME:SEVERITY: " + ", ".join(corruptions.names()),
    "quantise_order": f"for quantize: {', '.join(QUANTISE_ORDERS)}",
    "seed": "draws the images, the augmentation and random scores",
}


def add_spec(command: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Give a command the options of these fields of the spec, and where it computes."""
    for name in names:
        text = f"{OPTIONS[name]} (default: {DEFAULTS[name]})"
        command.add_argument(flag(name), dest=name, default=DEFAULTS[name], help=text)
    command.add_argument("--device", choices=devices(), default=devices()[0], help="(default: %(default)s)")
    command.add_argument("--checkpoint", type=Path, help="a state dict to load into the named model")


def spec_of(options: argparse.Namespace) -> Spec:
    """The spec that the options say. Raises ReflowError."""
    spec = Spec(**{name: getattr(options, name) for name in OPTIONS if hasattr(options, name)})
    Library(EVERYTHING).info(parted(spec.model)[0])
    return spec if options.checkpoint is None else spec.replace(model=f"{spec.model}@{options.checkpoint.resolve()}")


@contextmanager
def open_store() -> Iterator[Store]:
    """The store; what is wrong with it is told at once, or at the end if it went wrong meanwhile."""
    store = Store()
    if told := store.problem:
        print(f"note: {told}", file=sys.stderr)
    yield store
    if store.problem not in (None, told):
        print(f"note: {store.problem}", file=sys.stderr)
