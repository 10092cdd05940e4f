"""The pruned and repaired network itself, to take away: as safetensors with its card, as a state dict, as ONNX."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import judged_on
from reflow_core.errors import ReflowError
from reflow_core.networks.checkpoint import fingerprint
from reflow_core.numbers import finite, percent, significant
from reflow_core.production import onnx_file
from reflow_core.sources.library import Library, Network
from reflow_core.spec import Spec, parted
from reflow_core.watch import Watch, ignore

ONNX_WITHIN = 1e-4  # largest difference of a logit between torch and the file, as a fraction of the largest logit
CHECKED = 32  # images on which the file is compared
PACKAGES = ("torch", "torchvision", "numpy")


@dataclass(frozen=True, eq=False, slots=True)
class Made:
    """The network that a spec makes. `images` (N, 3, H, W): some normalized inputs, on the CPU."""

    spec: Spec
    origin: Network
    module: nn.Module
    images: Tensor


def rebuild(spec: Spec, source: Library, watch: Watch = ignore) -> Made:
    """Prune and repair again, without measuring: the very weights and buffers that `diagnose` measured.

    Where the repair does not apply the network is the pruned one. Raises ReflowError.
    """
    with Experiment.open(normalize(spec), source, watch) as experiment:
        network = experiment.clone(experiment.prune())
        experiment.repair(network)
        images = experiment.inputs(slice(0, CHECKED))
    return Made(experiment.spec, experiment.network, network.to("cpu").eval(), images)


def card(made: Made, diagnosis: Diagnosis) -> dict[str, Any]:
    """What whoever gets the file needs to know: what it is, how good, made from what, and how to load it."""
    info, architecture, outcomes = made.origin.info, parted(made.spec.model)[0], diagnosis.outcomes()
    return {
        "name": f"{architecture}, {percent(diagnosis.sparsity)} of its weights removed, repair {made.spec.repair}",
        "architecture": architecture,
        "from": made.origin.origin,
        "spec": made.spec.to_dict(),
        "variant": diagnosis.last,
        "sparsity": diagnosis.sparsity,
        "accuracy": {variant: finite(outcome.accuracy) for variant, outcome in outcomes.items()},
        "accuracy_95_percent_interval": {variant: outcome.ci95 for variant, outcome in outcomes.items()},
        "agreement_with_dense": {variant: outcome.agreement for variant, outcome in outcomes.items()},
        "evaluated_on": f"{judged_on(diagnosis)} of {diagnosis.data}",
        "repair": diagnosis.repair_report or diagnosis.reason,
        "notes": list(diagnosis.notes),
        "classes": list(info.classes),
        "input": {"size": list(info.size), "resize": info.resize, "mean": list(info.mean), "std": list(info.std)},
        "fingerprint": {"dense": made.origin.digest, "this": fingerprint(made.module)},
        "versions": versions(),
        "load": f"python -m reflow_core diagnose --model {architecture} --checkpoint FILE --sparsity 0 --repair none",
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def as_safetensors(made: Made, about: Mapping[str, Any]) -> bytes:
    """The state dict as safetensors, the card in the file's metadata."""
    return save(_state(made), {"format": "pt", "card": json.dumps(about)})


def as_state_dict(made: Made, about: Mapping[str, Any]) -> bytes:
    """The plain state dict, for `torch.load(FILE, weights_only=True)`; it has no room for a card."""
    file = io.BytesIO()
    torch.save(_state(made), file)
    return file.getvalue()


def _state(made: Made) -> dict[str, Tensor]:
    """Each tensor with memory of its own, as files want it."""
    return {name: tensor.detach().contiguous().clone() for name, tensor in made.module.state_dict().items()}


def as_onnx(made: Made, about: Mapping[str, Any]) -> bytes:
    """An ONNX file for any number of images, BatchNorm folded, the card in its metadata; checked against torch.

    Raises ReflowError where a logit differs by more than `ONNX_WITHIN` of the largest, or where it cannot be exported.
    """
    content = onnx_file.export(made.module, made.images[:1])
    difference = onnx_file.largest_difference(content, made.module, made.images)
    if not difference <= ONNX_WITHIN:  # NaN fails too
        raise ReflowError(
            f"The ONNX file's logits differ from torch by {significant(difference, 2)}; use the safetensors file."
        )
    notes = {"card": json.dumps(about), "largest_difference_from_torch": f"{difference:.3g}"}
    return onnx_file.with_metadata(content, notes)


def as_card(made: Made, about: Mapping[str, Any]) -> bytes:
    """The card alone, as JSON."""
    return json.dumps(about, indent=1).encode()


FORMATS: dict[str, tuple[str, Callable[[Made, Mapping[str, Any]], bytes]]] = {
    "safetensors": (".safetensors", as_safetensors),
    "onnx": (".onnx", as_onnx),
    "state-dict": (".pth", as_state_dict),
    "card": (".json", as_card),
}
