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
from reflow_core.diagnosis.diagnose import Bench, check, memory_told, settle
from reflow_core.errors import ReflowError
from reflow_core.machine import fingerprint
from reflow_core.production import onnx_file
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspections
from reflow_core.production.inspections.quantize import CALIBRATED
from reflow_core.production.inspections.structured import cut_channels
from reflow_core.production.int8 import quantised
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
from reflow_core.pruning.masks import keep_above, ladder, pruned_count
from reflow_core.pruning.patterns import n_of_m
from reflow_core.registry import Info
from reflow_core.signal.copies import hookable, hooked, private_copy
from reflow_core.sources.library import Library
from reflow_core.spec import CALIBRATION, Spec
from reflow_core.watch import Watch

KERNEL_S = 0.02  # of timing, a kernel
MOST_COLUMNS = 1 << 15  # positions of a large network's images: more of them change no ratio, but take long
KERNEL_SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
BASES = {"zeros": "dense", "CSR": "dense", "structured": "dense", "int8": "onnxruntime"}
NOTICED = 1.1  # a ratio under it may be the noise of a busy machine, and is no speed that anybody would notice


@inspections.register(
    Info(
        "hardware",
        "Hardware",
        "Dense, zeros, CSR, 2:4, structured and int8 timed on this machine; file sizes.",
        "",
        needs_data=True,
        reads=CALIBRATION,
        timed=True,
    )
)
def hardware(spec: Spec, source: Library, watch: Watch) -> Finding:
    """Time the network at the spec's sparsity in every form it can take here. Raises ReflowError."""
    check(spec, inspections["hardware"].info.reads, never=("repair", "corruption", "evaluation_tail"))
    with memory_told():
        bench = Bench(spec, source, watch)
        bench.open()
        pruned = bench.private(bench.prune()).to("cpu")
        inputs = bench.inputs(slice(0, max(BATCHES)))
        runs, notes = contenders(bench, pruned)
        end = end_to_end(runs, inputs, watch)
        kernel = kernels(bench, inputs)
        return _finding(bench, pruned, end, kernel, notes)


def contenders(bench: Bench, pruned: nn.Module) -> tuple[dict[str, Callable[[Tensor], object]], list[str]]:
    """What runs, by name, and why something does not."""
    notes = [f"2:4 is not available: {sparse_tensor_cores()}."] if sparse_tensor_cores() else []
    compressed = private_copy(pruned)
    if left := sparsified(compressed):
        notes.append(f"Dense in the CSR network too: {', '.join(left[:5])}{' …' if len(left) > 5 else ''}.")
    runs: dict[str, Callable[[Tensor], object]] = {"dense": bench.network.module, "zeros": pruned, "CSR": compressed}
    try:
        runs["structured"] = smaller(bench)
    except ReflowError as why:
        notes.append(f"Structured is left out: {why}")
    try:
        if len(bench.images.train) == 0:
            raise no_training_images(bench.images)
        file = onnx_file.export(pruned, bench.inputs(slice(0, 1)))
        small = quantised(file, bench.pruner.calibration.inputs[:CALIBRATED])
        for name, content in (("onnxruntime", file), ("int8", small)):
            runs[name] = functools.partial(onnx_file.run, onnx_file.session(content))
    except ReflowError as why:
        notes.append(f"int8 is left out: {why}")
    return runs, notes


def smaller(bench: Bench) -> nn.Module:
    """The network with channels cut out, about as many parameters left as the spec's sparsity leaves. ReflowError."""
    fraction = 1 - math.sqrt(1 - bench.spec.sparsity)
    spec = settle(bench.spec, pattern="unstructured", allocation="global", sparsity=round(fraction, 4))
    other = Bench(spec, bench.source, bench.watch)
    other.open()
    return cut_channels(other).network


def end_to_end(runs: Mapping[str, Callable[[Tensor], object]], images: Tensor, watch: Watch) -> pd.DataFrame:
    """Milliseconds of a whole pass by batch and contender, and how many times as fast as what it stands beside."""
    found = passes(runs, images, watch)
    found["beside"] = [BASES.get(name, name) for name in found.network]
    median = found.set_index(["batch", "network"]).median_ms
    found["speed"] = [median[row.batch, row.beside] / row.median_ms for row in found.itertuples()]
    return found


def kernels(bench: Bench, images: Tensor) -> pd.DataFrame:
    """The costliest layer's matrix product alone, dense against CSR by batch and sparsity.

    On its real inputs, the first MOST_COLUMNS positions of them.
    """
    module, name, arriving = costliest(bench, images)
    weight = module.get_parameter("weight").detach().flatten(1)
    ranked = ladder({name: weight.abs()})
    reads = {batch: columns(module, arriving[:batch])[:, :MOST_COLUMNS].contiguous() for batch in BATCHES}
    rows = []
    for (batch, read), sparsity in itertools.product(reads.items(), KERNEL_SPARSITIES):
        pruned = weight * keep_above({name: weight.abs()}, ranked, pruned_count(weight.numel(), sparsity))[name]
        kernels = {"dense": pruned, "CSR": csr(pruned)}
        timed = race(
            {kind: functools.partial(torch.matmul, each, read) for kind, each in kernels.items()}, bench.watch, KERNEL_S
        )
        rows.append(
            {"layer": name, "batch": batch, "sparsity": sparsity}
            | {"rows": len(weight), "inner": weight.shape[1], "columns": read.shape[1]}
            | {"dense_ms": 1e3 * timed["dense"].median, "csr_ms": 1e3 * timed["CSR"].median}
            | {"speed": timed["dense"].median / timed["CSR"].median}
        )
    return pd.DataFrame(rows)


def costliest(bench: Bench, images: Tensor) -> tuple[nn.Module, str, Tensor]:
    """The layer with most multiply-adds that is one product, its name, and what reaches it from the largest batch."""
    network = hookable(bench.network.module)
    plain = [layer for layer in bench.anatomy.layers if is_product(network.get_submodule(layer.name))]
    if not plain:
        raise ReflowError("No layer of this network is one matrix product, so no kernel can be timed alone.")
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


def semi_structured(bench: Bench) -> pd.DataFrame:
    """Which layers could run as 2:4, what disables the others, and on a GPU that can, how fast the product alone is."""
    rows = []
    for layer in bench.anatomy.layers:
        module = bench.network.module.get_submodule(layer.name)
        why = eligible(module) or sparse_tensor_cores()
        row = {"layer": layer.name, "kind": layer.kind, "eligible": not why, "disabled by": why, "speed": None}
        if not why and isinstance(module, nn.Linear):
            pruned = module.weight.detach() * n_of_m({layer.name: module.weight.abs()}, "2:4")[layer.name]
            timed = race(halves(pruned, max(BATCHES)), bench.watch, KERNEL_S)
            row["speed"] = timed["dense"].median / timed["2:4"].median
        rows.append(row)
    return pd.DataFrame(rows)


def _finding(bench: Bench, pruned: nn.Module, end: pd.DataFrame, kernel: pd.DataFrame, notes: list[str]) -> Finding:
    dense = {name: each.detach() for name, each in bench.network.module.named_parameters()}
    sparse = {name: each.detach() for name, each in pruned.named_parameters()}
    stored = sizes(dense, sparse)
    layers = bench.anatomy.layers
    total = sum(layer.multiply_adds for layer in layers)
    left = sum(round(layer.multiply_adds * _share(pruned, layer.name)) for layer in layers)
    speeds = end.set_index(["network", "batch"]).speed
    facts: dict[str, Any] = {
        "speed": {
            name: {str(batch): float(speeds[name, batch]) for batch in BATCHES} for name in BASES if name in speeds
        },
        "crossover": {
            str(batch): crossover(own.sparsity.tolist(), own.speed.tolist()) for batch, own in kernel.groupby("batch")
        },
        "multiply_adds": total,
        "multiply_adds_left": left,
        "bytes": stored,
    }
    tables = {
        "End to end": end,
        "Kernel": kernel,
        "Size": pd.DataFrame([{"form": form, "bytes": count} for form, count in stored.items()]),
        "2:4": semi_structured(bench),
    }
    counted = (
        f"Multiply-adds an image (one product and one sum count as one): {total:,} dense, {left:,} of them not by zero."
    )
    return Finding(bench.spec, told(facts), tables, facts, (*notes, counted), None, fingerprint())


def _share(network: nn.Module, name: str) -> float:
    weight = network.get_submodule(name).get_parameter("weight")
    return float(weight.count_nonzero()) / weight.numel()


def faster(speed: Mapping[str, float]) -> bool:
    """Whether a contender is faster at every batch size by more than anybody would overlook."""
    return min(speed.values()) >= NOTICED


def told(facts: Mapping[str, Any]) -> str:
    """The verdict in a sentence."""
    speed = facts["speed"]
    zeros = [speed["zeros"]["1"], speed["zeros"]["64"]]
    bought = "is measured faster here" if faster(speed["zeros"]) else "buys no speed here"
    cross = facts["crossover"]["8"]
    edge = "at no sparsity measured" if cross is None else f"from {100 * cross:.0f} % sparsity on (batch 8)"
    others = [
        f"{name} {speed[name]['1']:.2f} and {speed[name]['64']:.2f} times as fast"
        for name in ("structured", "int8")
        if name in speed
    ]
    also = f"; {', '.join(others)}" if others else ""
    return (
        f"Zeros in dense kernels run {zeros[0]:.2f} times as fast as dense on one image and {zeros[1]:.2f} on 64: "
        f"unstructured sparsity {bought}. A CSR kernel alone pays {edge}{also}."
    )
