"""int8 after pruning: what each step costs, what they cost together, and what the repair between them brings back."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from reflow_core.diagnosis.calibration import no_training_images
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.result import outcome
from reflow_core.diagnosis.statistics import paired_difference
from reflow_core.machine import fingerprint
from reflow_core.numbers import between, decimal, times, whole_percent
from reflow_core.production import onnx_file
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import InspectionInfo, inspections
from reflow_core.production.int8 import fast_int8, quantized, round_weights, sqnr
from reflow_core.production.timing import BATCHES, passes
from reflow_core.signal.copies import clone_module
from reflow_core.signal.predictions import Predictions
from reflow_core.sources.library import Library
from reflow_core.spec import CALIBRATION, Spec
from reflow_core.watch import Watch

CALIBRATED = 128  # images that set the ranges of the activations
UNCALIBRATED = "int8_dense_ranges"  # with the ranges of the dense network's activations
COMPARED = 64  # images on which layers are compared
BATCH = 128
RANGED_BY = {"prune-int8-repair": "pruned", "int8-prune-repair": "dense"}  # whose ranges an earlier int8 has
Files = dict[tuple[str, str], bytes]


@inspections.register(
    InspectionInfo(
        "quantize",
        "Quantization",
        "Accuracy, error, speed and size of int8 on the CPU (onnxruntime, static QDQ) after pruning and repair.",
        "arXiv 1712.05877",
        reads=("quantize_order", *CALIBRATION),
        timed=True,
    )
)
def quantize(spec: Spec, source: Library, watch: Watch) -> Finding:
    """Dense, pruned and repaired in float32 and in int8, in the spec's `quantize_order`.

    int8 is weights on their grid and ranges for the activations, both fixed where int8 stands in the order.
    "prune-repair-int8": as recommended, ranges of the repaired network. "prune-int8-repair": weights are rounded, and
    the ranges are the pruned network's, before the repair. "int8-prune-repair": before the selection, with the dense
    network's ranges. The pruned network alone is quantized twice, with its own ranges and with the dense network's, as
    where nobody calibrates anew after pruning. Raises ReflowError without training images.
    """
    with Experiment.open(spec, source, watch) as experiment:
        if len(experiment.images.train) == 0:
            raise no_training_images(experiment.images)
        experiment.dense()
        networks, reason = networks_by_variant(experiment)
        return _finding(experiment, files_of(experiment, networks), reason)


def files_of(experiment: Experiment, networks: Mapping[str, nn.Module]) -> Files:
    """Every network as a float32 and as an int8 file, by variant and precision, with the ranges that the order says."""
    example, images = experiment.inputs(slice(0, 1)), experiment.pruner.calibration.inputs[:CALIBRATED]
    files = {(variant, "float32"): onnx_file.export(network, example) for variant, network in networks.items()}
    stale = RANGED_BY.get(experiment.spec.quantize_order, "repaired")
    ranges_of = {"dense": "dense", "pruned": "pruned", "repaired": stale}
    for place, variant in enumerate(networks):
        experiment.watch("quantize", place, len(networks))
        ranges = files[ranges_of[variant], "float32"]
        files[variant, "int8"] = quantized(files[variant, "float32"], images, ranges)
    files["pruned", UNCALIBRATED] = quantized(files["pruned", "float32"], images, files["dense", "float32"])
    return {key: files[key] for variant in networks for key in files if key[0] == variant}


def final_int8(experiment: Experiment) -> Predictions:
    """What the int8 file of the last variant predicts, in the spec's order. Raises ReflowError, see `quantize`."""
    if len(experiment.images.train) == 0:
        raise no_training_images(experiment.images)
    networks, _ = networks_by_variant(experiment)
    last = list(networks)[-1]
    ranged_by = RANGED_BY.get(experiment.spec.quantize_order, last)
    content, ranges = (onnx_file.export(networks[name], experiment.inputs(slice(0, 1))) for name in (last, ranged_by))
    return predictions_of(quantized(content, experiment.pruner.calibration.inputs[:CALIBRATED], ranges), experiment)


def networks_by_variant(experiment: Experiment) -> tuple[dict[str, nn.Module], str | None]:
    """The networks of which files are made, by variant, and why there is no repaired one."""
    order = experiment.spec.quantize_order
    pruner = experiment.pruner
    pruned = clone_module(pruner.base.module)
    if order.startswith("int8"):
        round_weights(pruned)
        rounded = dataclasses.replace(pruner.base, module=clone_module(pruned), digest=f"{pruner.base.digest}:int8")
        pruner = dataclasses.replace(pruner, network=rounded, begin=None)
    pruner.install(pruned, pruner.prune())
    if order != "prune-repair-int8":
        round_weights(pruned)
    repaired = clone_module(pruned)
    _, reason = experiment.repair(repaired)
    repaired.to("cpu")  # where its file is made
    networks = {"dense": experiment.network.module, "pruned": pruned}
    return (networks if reason else networks | {"repaired": repaired}), reason


def predictions_of(file: bytes, experiment: Experiment) -> Predictions:
    """What a file predicts on the evaluation images."""
    runner, inputs = onnx_file.session(file), experiment.inputs
    count = len(experiment.evaluation)
    parts = []
    for start in range(0, count, BATCH):
        experiment.watch("quantize", start, count)
        parts.append(onnx_file.run(runner, inputs(slice(start, min(start + BATCH, count)))))
    best = torch.from_numpy(np.concatenate(parts)).softmax(1).max(1)
    return Predictions(best.indices.numpy(), best.values.numpy(), None)


def _finding(experiment: Experiment, files: Files, reason: str | None) -> Finding:
    predictions = {key: predictions_of(file, experiment) for key, file in files.items()}
    dense = predictions["dense", "float32"]
    rows = []
    for (variant, precision), file in files.items():
        summary = outcome(predictions[variant, precision], experiment.labels, dense, len(experiment.images.classes))
        low, high = summary.ci95 or (None, None)
        rows.append(
            {
                "variant": variant,
                "precision": precision,
                "accuracy": summary.score,
                "low": low,
                "high": high,
                "bytes": len(file),
            }
        )
    table = pd.DataFrame(rows)
    last = "repaired" if ("repaired", "int8") in files else "pruned"
    inputs = experiment.inputs
    runs = {p: functools.partial(onnx_file.run, onnx_file.session(files[last, p])) for p in ("float32", "int8")}
    timed = passes(runs, inputs(slice(0, max(BATCHES))), experiment.watch)
    names = [layer.name for layer in experiment.trace.layers]
    errors = pd.DataFrame(sqnr(files[last, "float32"], files[last, "int8"], inputs(slice(0, COMPARED)), names))
    facts = quantize_facts(table, timed) | {"variant": last, "order": experiment.spec.quantize_order}
    facts |= {"waiting": float(timed.waiting.mean())}
    facts |= {"added": added(predictions, experiment.labels), "images": len(experiment.evaluation)}
    notes = [f"No repair: {reason}"] if reason else []
    if not fast_int8():
        notes.append("This processor has no VNNI: weights use 7 bits, and int8 may not be faster.")
    tables = {"Losses": table, "Latency": timed, "Errors": errors}
    return Finding(experiment.spec, quantize_answer(facts), tables, facts, tuple(notes), None, fingerprint())


def added(
    predictions: Mapping[tuple[str, str], Predictions], labels: NDArray[np.int64] | None
) -> dict[str, list[float]]:
    """What int8 adds to the loss of each pruned or repaired network, and its 95 % interval; by variant and precision.

    Fractions, on the same images; without labels of agreement with the dense network.
    """
    truth = predictions["dense", "float32"].predicted if labels is None else labels
    right = {key: each.predicted == truth for key, each in predictions.items()}
    return {
        f"{variant}_{precision}": list(paired_difference(right[variant, "float32"], right[variant, precision]))
        for variant, precision in predictions
        if variant != "dense" and precision != "float32"
    }


def quantize_facts(table: pd.DataFrame, timed: pd.DataFrame) -> dict[str, Any]:
    """Losses against dense float32 (fractions), alone and together, and speed and size of int8 beside float32."""
    score = table.set_index(["variant", "precision"]).accuracy
    dense = float(score["dense", "float32"])
    loss = {f"{variant}_{precision}": dense - float(score[variant, precision]) for variant, precision in score.index}
    size = table.set_index(["variant", "precision"]).bytes
    speed = timed.set_index(["batch", "network"]).median_ms
    return {
        "dense": dense,
        "loss": loss,
        "sum": loss["pruned_float32"] + loss["dense_int8"],
        "together": loss["pruned_int8"],
        "size": float(size["dense", "int8"] / size["dense", "float32"]),
        "speed": {str(batch): float(speed[batch, "float32"] / speed[batch, "int8"]) for batch in BATCHES},
    }


def shown(loss: float) -> str:
    """A loss (fraction) in points: 1.2."""
    return decimal(100 * loss, 1)


def both_shown(loss: Mapping[str, float]) -> str:
    """The sum of what pruning and int8 lose alone, in points: of what is shown beside it, so that it agrees."""
    return decimal(100 * (between(loss["pruned_float32"], 0) + between(loss["dense_int8"], 0)), 1)


def quantize_answer(facts: dict[str, Any]) -> str:
    """The finding's answer, in a sentence."""
    loss = {name: shown(value) for name, value in facts["loss"].items()}
    repaired = f"; with the repair {loss['repaired_int8']}" if facts["variant"] == "repaired" else ""
    return (
        f"Pruning alone loses {loss['pruned_float32']} points, int8 alone {loss['dense_int8']}, both together "
        f"{loss[f'pruned_{UNCALIBRATED}']} with the dense network's activation ranges and {loss['pruned_int8']} "
        f"with re-measured ranges (the sum would be {both_shown(facts['loss'])}){repaired}; int8 takes "
        f"{whole_percent(facts['size'])} of the bytes and runs {times(facts['speed']['1'])} times as fast on one "
        f"image, {times(facts['speed']['64'])} times on 64."
    )
