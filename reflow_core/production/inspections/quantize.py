"""int8 after pruning: what each step costs, what they cost together, and what the repair between them brings back."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from reflow_core.diagnosis.calibration import no_training_images
from reflow_core.diagnosis.diagnose import Bench, check, memory_told
from reflow_core.diagnosis.pruner import Pruner
from reflow_core.diagnosis.result import Answers, outcome
from reflow_core.machine import fingerprint
from reflow_core.production import onnx_file
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspections
from reflow_core.production.int8 import fast_int8, quantised, round_weights, sqnr
from reflow_core.production.timing import BATCHES, passes
from reflow_core.pruning.masks import install
from reflow_core.registry import Info
from reflow_core.signal.copies import private_copy
from reflow_core.sources.library import Library
from reflow_core.spec import CALIBRATION, Spec
from reflow_core.watch import Watch

CALIBRATED = 128  # images that set the ranges of the activations
COMPARED = 64  # images on which layers are compared
BATCH = 128


@inspections.register(
    Info(
        "quantize",
        "Quantisation",
        "int8 on the CPU (onnxruntime, static QDQ) after pruning and repair, its accuracy, error, speed and size.",
        "arXiv 1712.05877",
        needs_data=True,
        reads=("quantise_order", *CALIBRATION),
        timed=True,
    )
)
def quantize(spec: Spec, source: Library, watch: Watch) -> Finding:
    """Dense, pruned and repaired in float32 and in int8, in the spec's `quantise_order`.

    "prune-repair-int8": as recommended. "prune-int8-repair": weights are rounded before the repair.
    "int8-prune-repair": before the selection too. The file that runs is always made last. Raises ReflowError without
    training images.
    """
    check(spec, inspections["quantize"].info.reads)
    with memory_told():
        bench = Bench(spec, source, watch)
        bench.open()
        if len(bench.images.train) == 0:
            raise no_training_images(bench.images)
        bench.dense()
        networks, reason = stages(bench)
        files: dict[tuple[str, str], bytes] = {}
        for place, (arm, network) in enumerate(networks.items()):
            watch("quantize", place, len(networks))
            files[arm, "float32"] = onnx_file.export(network, bench.inputs(slice(0, 1)))
            files[arm, "int8"] = quantised(files[arm, "float32"], bench.pruner.calibration.inputs[:CALIBRATED])
        return _finding(bench, files, reason)


def stages(bench: Bench) -> tuple[dict[str, nn.Module], str | None]:
    """The networks before the file is made, by arm, and why there is no repaired one."""
    order = bench.spec.quantise_order
    dense, pruner = bench.network.module, bench.pruner
    if order.startswith("int8"):
        dense = private_copy(dense)
        round_weights(dense)
        rounded = dataclasses.replace(bench.network, module=dense, digest=f"{bench.network.digest}:int8")
        example = bench.inputs(slice(0, 1))
        pruner = Pruner(bench.spec, bench.source, rounded, bench.images, bench.anatomy, example, bench.watch)
    pruned = private_copy(dense)
    install(pruned, pruner.prune().weights)
    if order != "prune-repair-int8":
        round_weights(pruned)
    repaired = private_copy(pruned)
    _, reason = bench.repair(repaired)
    found = {"dense": bench.network.module, "pruned": pruned}
    return (found if reason else found | {"repaired": repaired}), reason


def answered(file: bytes, bench: Bench) -> Answers:
    """What a file answers to the evaluation images."""
    runner, inputs = onnx_file.session(file), bench.inputs
    count = len(bench.evaluation)
    parts = []
    for start in range(0, count, BATCH):
        bench.watch("quantize", start, count)
        parts.append(onnx_file.run(runner, inputs(slice(start, min(start + BATCH, count)))))
    best = torch.from_numpy(np.concatenate(parts)).softmax(1).max(1)
    return Answers(best.indices.numpy(), best.values.numpy(), None)


def _finding(bench: Bench, files: dict[tuple[str, str], bytes], reason: str | None) -> Finding:
    answers = {key: answered(file, bench) for key, file in files.items()}
    dense = answers["dense", "float32"]
    rows = []
    for (arm, precision), file in files.items():
        found = outcome(answers[arm, precision], bench.labels, dense, len(bench.images.classes))
        low, high = found.ci95 or (None, None)
        rows.append(
            {"arm": arm, "precision": precision, "accuracy": found.score, "low": low, "high": high, "bytes": len(file)}
        )
    table = pd.DataFrame(rows)
    last = "repaired" if ("repaired", "int8") in files else "pruned"
    inputs = bench.inputs
    runs = {p: functools.partial(onnx_file.run, onnx_file.session(files[last, p])) for p in ("float32", "int8")}
    timed = passes(runs, inputs(slice(0, max(BATCHES))), bench.watch)
    names = [layer.name for layer in bench.anatomy.layers]
    errors = pd.DataFrame(sqnr(files[last, "float32"], files[last, "int8"], inputs(slice(0, COMPARED)), names))
    facts = facts_of(table, timed) | {"arm": last, "order": bench.spec.quantise_order}
    notes = [f"No repair: {reason}"] if reason else []
    if not fast_int8():
        notes.append("This processor has no VNNI: weights take 7 bits, and int8 may not be faster.")
    tables = {"Losses": table, "Latency": timed, "Errors": errors}
    return Finding(bench.spec, told(facts), tables, facts, tuple(notes), None, fingerprint())


def facts_of(table: pd.DataFrame, timed: pd.DataFrame) -> dict[str, Any]:
    """Losses against dense float32 (fractions), alone and together, and speed and size of int8 beside float32."""
    score = table.set_index(["arm", "precision"]).accuracy
    dense = float(score["dense", "float32"])
    loss = {f"{arm}_{precision}": dense - float(score[arm, precision]) for arm, precision in score.index}
    size = table.set_index(["arm", "precision"]).bytes
    speed = timed.set_index(["batch", "network"]).median_ms
    return {
        "dense": dense,
        "loss": loss,
        "sum": loss["pruned_float32"] + loss["dense_int8"],
        "together": loss["pruned_int8"],
        "size": float(size["dense", "int8"] / size["dense", "float32"]),
        "speed": {str(batch): float(speed[batch, "float32"] / speed[batch, "int8"]) for batch in BATCHES},
    }


def told(facts: dict[str, Any]) -> str:
    """The answer in a sentence."""
    loss = {name: f"{100 * value + 0.0:.1f}" for name, value in facts["loss"].items()}
    mended = f"; with the repair {loss['repaired_int8']}" if facts["arm"] == "repaired" else ""
    return (
        f"Pruning alone loses {loss['pruned_float32']} points, int8 alone {loss['dense_int8']}, both together "
        f"{loss['pruned_int8']} (the sum would be {100 * facts['sum'] + 0.0:.1f}){mended}; int8 takes "
        f"{100 * facts['size']:.0f} % of the bytes and runs {facts['speed']['1']:.2f} times as fast on one image, "
        f"{facts['speed']['64']:.2f} times on 64."
    )
