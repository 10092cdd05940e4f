"""Does it run faster? Every kind of sparsity timed on this machine, now, kernel alone and end to end."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from reflow_core.diagnosis.calibration import no_training_images
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize
from reflow_core.errors import ReflowError
from reflow_core.machine import fingerprint
from reflow_core.numbers import times, whole_percent
from reflow_core.production import onnx_file, service
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import InspectionInfo, inspections
from reflow_core.production.inspections.quantize import CALIBRATED
from reflow_core.production.inspections.structured import cut_channels
from reflow_core.production.int8 import quantized
from reflow_core.production.sparse import (
    columns,
    csr,
    eligible,
    halves,
    is_product,
    sizes,
    sparse_tensor_cores,
    sparsified,
)
from reflow_core.production.timing import BATCHES, passes, race, repeated
from reflow_core.pruning.masks import keep_above, pruned_count, score_quantiles
from reflow_core.pruning.patterns import n_of_m
from reflow_core.signal.copies import clone_module, hooked, shallow_clone
from reflow_core.sources.library import Library
from reflow_core.spec import CALIBRATION, Spec
from reflow_core.watch import Watch

KERNEL_S = 0.02  # of timing, a kernel
MOST_COLUMNS = 1 << 15  # positions of a large network's images: more of them change no ratio, but take long
KERNEL_SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
BASES = {"zeros": "dense", "CSR": "dense", "structured": "dense", "int8": "onnxruntime"}
NOTICED = 1.1  # a ratio under it may be the noise of a busy machine, and is no speed that anybody would notice


@inspections.register(
    InspectionInfo(
        "hardware",
        "Hardware",
        "Speed of dense, zeros, CSR, 2:4, structured and int8 on this machine, and file sizes.",
        "",
        ignores=("repair", "corruption", "evaluation_tail", "evaluation_split"),
        reads=CALIBRATION,
        timed=True,
    )
)
def hardware(spec: Spec, source: Library, watch: Watch) -> Finding:
    """Time the network at the spec's sparsity in every form it can take here. Raises ReflowError."""
    with Experiment.open(spec, source, watch) as experiment:
        pruned = experiment.clone(experiment.prune()).to("cpu")
        inputs = experiment.inputs(slice(0, max(BATCHES)))
        runs, notes = contenders(experiment, pruned)
        end = end_to_end(runs, inputs, watch)
        kernel = kernels(experiment, inputs)
        one = end.set_index(["network", "batch"]).median_ms["dense", 1] / 1e3
        service, told = in_service(experiment, runs, one, str(kernel.layer.iloc[0]))
        return _finding(experiment, pruned, {"End to end": end, "Kernel": kernel, **service}, [*notes, *told])


def contenders(experiment: Experiment, pruned: nn.Module) -> tuple[dict[str, Callable[[Tensor], object]], list[str]]:
    """What runs, by name, and why something does not."""
    notes = [f"2:4 is not available: {sparse_tensor_cores()}."] if sparse_tensor_cores() else []
    compressed = clone_module(pruned)
    if left := sparsified(compressed):
        notes.append(f"Also dense in the CSR network: {', '.join(left[:5])}{' …' if len(left) > 5 else ''}.")
    runs: dict[str, Callable[[Tensor], object]] = {
        "dense": experiment.network.module,
        "zeros": pruned,
        "CSR": compressed,
    }
    try:
        runs["structured"] = cut_network(experiment)
    except ReflowError as error:
        notes.append(f"Structured is not measured: {error}")
    try:
        if len(experiment.images.train) == 0:
            raise no_training_images(experiment.images)
        file = exported(pruned, experiment.inputs(slice(0, 1)))
        small = quantized(file, experiment.pruner.calibration.inputs[:CALIBRATED])
        for name, content in (("onnxruntime", file), ("int8", small)):
            runs[name] = functools.partial(onnx_file.run, onnx_file.session(content))
    except ReflowError as error:
        notes.append(f"int8 is not measured: {error}")
    return runs, notes


def exported(network: nn.Module, example: Tensor) -> bytes:
    """The network as an ONNX file, for images of any size where that can be. Raises ReflowError."""
    try:
        return onnx_file.export(network, example, any_size=True)
    except ReflowError:
        return onnx_file.export(network, example)


def in_service(
    experiment: Experiment, runs: Mapping[str, Callable[[Tensor], object]], one: float, costliest: str
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Requests as in service, what a kernel's speed is worth on the whole way, and what there is to know about both.

    `one`: seconds of a dense pass over one image. `costliest`: the layer whose kernel is timed alone.
    """
    module, info = experiment.network.module, experiment.network.info
    asked = service.traffic(module, info.size, one)
    able = {name: run for name, run in runs.items() if all(service.takes(run, size) for size in asked.sizes)}
    replaced = [layer.name for layer in experiment.trace.layers if is_product(module.get_submodule(layer.name))]
    images = experiment.evaluation[: max(asked.batches)]
    rows = service.served(able, asked, images, info, replaced, experiment.watch)
    notes = [f"Requests are drawn at random, batch and image size independently: {asked}."]
    if len(asked.sizes) == 1:
        notes.append("This network accepts one image size, so requests differ only in their batch size.")
    if unable := [name for name in runs if name not in able]:
        notes.append(f"Not in the requests, because they accept one image size: {', '.join(unable)}.")
    beside = {name: BASES.get(name, name) for name in able}
    tables = {
        "Requests": service.summarized(rows, replaced, beside),
        "Amdahl": service.split(rows, costliest, replaced),
    }
    return tables, notes


def cut_network(experiment: Experiment) -> nn.Module:
    """The network with channels cut out, about as many parameters left as the spec's sparsity leaves. ReflowError."""
    fraction = 1 - math.sqrt(1 - experiment.spec.sparsity)
    spec = normalize(experiment.spec, pattern="unstructured", allocation="global", sparsity=round(fraction, 4))
    with Experiment.open(spec, experiment.source, experiment.watch) as structured:
        return cut_channels(structured).network


def end_to_end(runs: Mapping[str, Callable[[Tensor], object]], images: Tensor, watch: Watch) -> pd.DataFrame:
    """Milliseconds of a whole pass by batch and contender, and how many times as fast as what it stands beside."""
    table = passes(runs, images, watch)
    table["beside"] = [BASES.get(name, name) for name in table.network]
    median = table.set_index(["batch", "network"]).median_ms
    table["speed"] = [median[row.batch, row.beside] / row.median_ms for row in table.itertuples()]
    return table


def kernels(experiment: Experiment, images: Tensor) -> pd.DataFrame:
    """The costliest layer's matrix product alone, dense against CSR by batch and sparsity.

    On its real inputs, the first MOST_COLUMNS positions of them.
    """
    module, name, arriving = costliest(experiment, images)
    weight = module.get_parameter("weight").detach().flatten(1)
    ranked = score_quantiles({name: weight.abs()})
    reads = {batch: columns(module, arriving[:batch])[:, :MOST_COLUMNS].contiguous() for batch in BATCHES}
    rows = []
    for (batch, read), sparsity in itertools.product(reads.items(), KERNEL_SPARSITIES):
        pruned = weight * keep_above({name: weight.abs()}, ranked, pruned_count(weight.numel(), sparsity))[name]
        kernels = {"dense": pruned, "CSR": csr(pruned)}
        timed = race(
            {kind: functools.partial(torch.matmul, kernel, read) for kind, kernel in kernels.items()},
            experiment.watch,
            KERNEL_S,
        )
        rows.append(
            {"layer": name, "batch": batch, "sparsity": sparsity}
            | {"rows": len(weight), "inner": weight.shape[1], "columns": read.shape[1]}
            | {"dense_ms": 1e3 * timed["dense"].median, "csr_ms": 1e3 * timed["CSR"].median}
            | {"speed": timed["dense"].median / timed["CSR"].median, "waiting": timed["CSR"].waiting}
        )
    return pd.DataFrame(rows)


def costliest(experiment: Experiment, images: Tensor) -> tuple[nn.Module, str, Tensor]:
    """The layer with most multiply-adds that is one product, its name, and what reaches it from the largest batch."""
    network = shallow_clone(experiment.network.module)
    plain = [layer for layer in experiment.trace.layers if is_product(network.get_submodule(layer.name))]
    if not plain:
        raise ReflowError("No layer of this network is a single matrix product, so no kernel can be timed alone.")
    best = max(plain, key=lambda layer: layer.multiply_adds)
    read: list[Tensor] = []
    with hooked(network, {best.name: lambda module, arriving: read.append(arriving[0])}), torch.inference_mode():
        network(repeated(images, max(BATCHES)))
    return network.get_submodule(best.name), best.name, read[0]


def crossover(sparsities: Sequence[float], speeds: Sequence[float]) -> float | None:
    """The sparsity from which on a kernel is as fast as dense, interpolated; None where it never is.

    Points in ascending order; before the first the kernel is taken to be slower.
    """
    below: tuple[float, float] | None = None
    for sparsity, speed in zip(sparsities, speeds, strict=True):
        if speed >= 1 and below is None:
            return sparsity
        if speed >= 1 and below is not None:
            return below[0] + (1 - below[1]) / (speed - below[1]) * (sparsity - below[0])
        below = sparsity, speed
    return None


def semi_structured(experiment: Experiment) -> pd.DataFrame:
    """Which layers could run as 2:4, why the others could not, and on a GPU that can, how fast the product alone is."""
    rows = []
    for layer in experiment.trace.layers:
        module = experiment.network.module.get_submodule(layer.name)
        reason = eligible(module) or sparse_tensor_cores()
        row = {"layer": layer.name, "kind": layer.kind, "eligible": not reason, "disabled by": reason, "speed": None}
        if not reason and isinstance(module, nn.Linear):
            pruned = module.weight.detach() * n_of_m({layer.name: module.weight.abs()}, "2:4")[layer.name]
            timed = race(halves(pruned, max(BATCHES)), experiment.watch, KERNEL_S)
            row["speed"] = timed["dense"].median / timed["2:4"].median
        rows.append(row)
    return pd.DataFrame(rows)


def _finding(experiment: Experiment, pruned: nn.Module, timed: Mapping[str, pd.DataFrame], notes: list[str]) -> Finding:
    dense = {name: parameter.detach() for name, parameter in experiment.network.module.named_parameters()}
    sparse = {name: parameter.detach() for name, parameter in pruned.named_parameters()}
    stored = sizes(dense, sparse)
    layers = experiment.trace.layers
    total = sum(layer.multiply_adds for layer in layers)
    left = sum(round(layer.multiply_adds * _share(pruned, layer.name)) for layer in layers)
    speeds, served = timed["End to end"].set_index(["network", "batch"]).speed, timed["Requests"]
    facts: dict[str, Any] = {
        "speed": {
            name: {str(batch): float(speeds[name, batch]) for batch in BATCHES} for name in BASES if name in speeds
        },
        "crossover": {
            str(batch): crossover(rows.sparsity.tolist(), rows.speed.tolist())
            for batch, rows in timed["Kernel"].groupby("batch")
        },
        "requests": {
            quantile: dict(zip(served.network, served[f"speed_{quantile}"], strict=True)) for quantile in ("p50", "p95")
        },
        "multiply_adds": total,
        "multiply_adds_left": left,
        "bytes": stored,
        "waiting": float(timed["End to end"].waiting.mean()),
    }
    tables = {
        **timed,
        "Size": pd.DataFrame([{"form": form, "bytes": count} for form, count in stored.items()]),
        "2:4": semi_structured(experiment),
    }
    counted = (
        f"Multiply-adds per image (one product and one sum count as one): {total:,} dense, of which {left:,} have "
        "nonzero weights."
    )
    return Finding(experiment.spec, hardware_answer(facts), tables, facts, (*notes, counted), None, fingerprint())


def _share(network: nn.Module, name: str) -> float:
    weight = network.get_submodule(name).get_parameter("weight")
    return float(weight.count_nonzero()) / weight.numel()


def faster(speed: Mapping[str, float]) -> bool:
    """Whether a contender is faster at every batch size, and by enough to be noticed."""
    return min(speed.values()) >= NOTICED


def hardware_answer(facts: Mapping[str, Any]) -> str:
    """The finding's answer: the whole network first, then what one kernel alone does."""
    speed, at = facts["speed"], facts["crossover"]["8"]
    zeros, csr = speed["zeros"], speed["CSR"]
    gain = "faster" if faster(zeros) else "no faster"
    others = "".join(
        f", {name} {times(speed[name]['1'])} and {times(speed[name]['64'])} times"
        for name in ("structured", "int8")
        if name in speed
    )
    edge = "at no sparsity measured" if at is None else f"from {whole_percent(at)} sparsity (batch 8)"
    return (
        f"End to end, zeros make this network {gain}: with dense kernels it runs {times(zeros['1'])} times as "
        f"fast on one image and {times(zeros['64'])} times on 64, as CSR {times(csr['1'])} and {times(csr['64'])} "
        f"times{others}. Its costliest layer alone is as fast in a CSR kernel as in a dense one {edge}."
    )
