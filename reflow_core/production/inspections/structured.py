"""Structured pruning: channels really cut out, verified, repaired, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.diagnosis.evaluate import Observation
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.result import outcome
from reflow_core.errors import ReflowError
from reflow_core.machine import fingerprint
from reflow_core.numbers import percent, significant, times, whole_percent
from reflow_core.production import onnx_file
from reflow_core.production.channels import Cutter, Group, coupled, difference, mismatches, widths
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import InspectionInfo, inspections
from reflow_core.production.timing import BATCHES, passes
from reflow_core.pruning.allocations import Budget, allocations
from reflow_core.pruning.masks import Scores
from reflow_core.signal.copies import clone_module
from reflow_core.signal.trace import trace
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch

PROOF = 8  # images on which a cut network is verified
ALLOCATIONS = ("global", "uniform")


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Cut:
    """A network with channels cut out, and what led to it: `gone` channels and `kept` counts by group name."""

    network: nn.Module
    groups: list[Group]
    gone: dict[str, list[int]]
    kept: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold of a cut network. `told`: what was measured, in words."""

    what: str
    passed: bool
    told: str


@inspections.register(
    InspectionInfo(
        "structured",
        "Structured",
        "Remove whole channels from the network, verify, repair and measure it.",
        "arXiv 2301.12900",
        ignores=("pattern", "update", "exclude", "stages"),
        timed=True,
    )
)
def structured(spec: Spec, source: Library, watch: Watch) -> Finding:
    """Cut the fraction `sparsity` of the channels that can be cut. Raises ReflowError where none can."""
    with Experiment.open(spec, source, watch) as experiment:
        dense = experiment.dense()
        cut = cut_channels(experiment)
        checked = run_checks(experiment, cut)
        variants: dict[str, tuple[nn.Module, Observation]] = {"dense": (experiment.network.module, dense)}
        pruned = clone_module(cut.network)
        variants["pruned"] = pruned, _observed(experiment, pruned, "pruned")
        report, reason = experiment.repair(cut.network, narrower=True)
        cut.network.to("cpu")  # where it is measured
        if report is not None:
            variants["repaired"] = cut.network, _observed(experiment, cut.network, "repaired")
        return _finding(experiment, cut, checked, variants, reason)


def cut_channels(experiment: Experiment) -> Cut:
    """A clone of the network without the least important channels of each group. Raises ReflowError."""
    if experiment.spec.allocation not in ALLOCATIONS:
        raise ReflowError(
            f"Channels are removed by allocation {' or '.join(ALLOCATIONS)}, not {experiment.spec.allocation}."
        )
    images = experiment.inputs(slice(0, PROOF))
    network, classifier = experiment.network.module, experiment.trace.classifier
    groups: list[Group] = experiment.source.recall(
        ("groups", experiment.network.digest), lambda: coupled(network, images, classifier, experiment.watch)
    )
    free = [group for group in groups if not group.held and group.channels > 1]
    if not free:
        raise ReflowError(
            "No channel of this network can be removed: " + "; ".join({group.held for group in groups}) + "."
        )
    gone = channels_to_cut(experiment, free)
    cutter = Cutter(clone_module(network), images[:1], classifier)
    try:
        cutter.cut(gone)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ReflowError(f"The channels could not be removed ({str(error).splitlines()[0][:200]}).") from error
    kept = {group.name: group.channels - len(gone.get(group.name, ())) for group in groups}
    return Cut(cutter.network, groups, gone, kept)


def channels_to_cut(experiment: Experiment, groups: Sequence[Group]) -> dict[str, list[int]]:
    """The channels to cut by group: those of least importance, one of each group always left."""
    scores = {group.name: importance(experiment.pruner.scores().by_layer, group) for group in groups}
    blocks = {group.name: group.blocks for group in groups}
    if experiment.spec.allocation == "global":  # groups differ in scale: each is compared with its own mean
        scores = {name: score / score.mean().clamp(min=1e-12) for name, score in scores.items()}
    masks = allocations[experiment.spec.allocation].function(Scores(scores), Budget(experiment.spec.sparsity))
    gone = {}
    for name, mask in masks.items():
        if not mask.any():
            mask[scores[name].argmax()] = True
        gone[name] = (~mask.repeat(blocks[name])).nonzero().flatten().tolist()
    return gone


def importance(scores: Mapping[str, Tensor], group: Group) -> Tensor:
    """A score (C,) a channel: the criterion's scores of the weights that make it, the mean over weights and layers.

    Where grouped convolutions lose the same channels in each group, (C / groups,), the mean over the groups.
    """
    makers = [member for member in group.members if member.side == "out" and member.layer in scores]
    whole = [member for member in makers if len(member.channels) == group.channels]
    score = torch.stack([scores[member.layer].flatten(1).mean(1)[list(member.channels)] for member in whole]).mean(0)
    return score.view(group.blocks, -1).mean(0)


def _observed(experiment: Experiment, network: nn.Module, stage: str) -> Observation:
    return experiment.observe(network, stage, trace(network, experiment.inputs(slice(0, 1))))


def run_checks(experiment: Experiment, cut: Cut) -> list[Check]:
    """Everything that must hold of a cut network before anybody trusts it."""
    images = experiment.inputs(slice(0, PROOF))
    return list(
        checks(
            experiment.network.module, cut, images, experiment.trace.classifier, len(experiment.network.info.classes)
        )
    )


def checks(dense: nn.Module, cut: Cut, images: Tensor, classifier: str | None, classes: int) -> Iterator[Check]:
    """Forward, widths by name, equality with the silent network, fewer parameters, one training step, ONNX."""
    with torch.inference_mode():
        logits = cut.network(images)
    right = logits.shape == (len(images), classes) and bool(logits.isfinite().all())
    yield Check("forward", right, f"logits {tuple(logits.shape)}, {'finite' if right else 'wrong shape or not finite'}")
    wrong = list(mismatches(cut.network, dense, cut.groups, cut.kept))
    yield Check("coupled widths", not wrong, "; ".join(wrong) or "every layer has the channels of its group")
    odd = list(_odd_norms(cut.network))
    yield Check("norm widths", not odd, "; ".join(odd) or "weights and statistics of every norm have the same length")
    differs = difference(dense, images, classifier, cut.gone)
    yield Check("same as zeroed", not differs, differs or "the same logits as with these channels set to zero")
    before, after = (sum(weight.numel() for weight in net.parameters()) for net in (dense, cut.network))
    yield Check("parameters", after < before, f"{after:,} of {before:,} remain")
    yield _trains(cut.network, images)
    yield _exports(cut.network, images)


def _odd_norms(network: nn.Module) -> Iterator[str]:
    for name, module in network.named_modules():
        lengths = {len(vector) for vector in (*module.parameters(False), *module.buffers(False)) if vector.ndim == 1}
        if "Norm" in type(module).__name__ and len(lengths) > 1:
            yield f"{name} has {' and '.join(map(str, sorted(lengths)))} channels"


def _trains(network: nn.Module, images: Tensor) -> Check:
    """One step of training on a clone: the loss and every gradient are finite."""
    clone = clone_module(network).requires_grad_(True)
    loss = F.cross_entropy(clone(images), torch.zeros(len(images), dtype=torch.long))
    loss.backward()
    gradients = (parameter.grad for parameter in clone.parameters())
    finite = all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)
    return Check(
        "training step", finite and bool(loss.isfinite()), f"loss {float(loss.detach()):.3f}, gradients finite"
    )


def _exports(network: nn.Module, images: Tensor) -> Check:
    """Exported to ONNX and run by onnxruntime."""
    try:
        largest = onnx_file.largest_difference(onnx_file.export(network, images[:1]), network, images)
    except ReflowError as error:
        return Check("ONNX", False, str(error))
    return Check("ONNX", largest <= 1e-3, f"logits differ by {significant(largest, 1)} of the largest")


def _finding(
    experiment: Experiment,
    cut: Cut,
    checked: Sequence[Check],
    variants: Mapping[str, tuple[nn.Module, Observation]],
    reason: str | None,
) -> Finding:
    inputs, dense = experiment.inputs, variants["dense"][1].predictions
    networks = {"dense": experiment.network.module, "zeros": masked_network(experiment), "structured": cut.network}
    timed = passes(networks, inputs(slice(0, max(BATCHES))), experiment.watch)
    rows = []
    for variant, (network, observation) in variants.items():
        summary = outcome(observation.predictions, experiment.labels, dense, len(experiment.images.classes))
        low, high = summary.ci95 or (None, None)
        rows.append(
            {"variant": variant, "accuracy": summary.score, "low": low, "high": high}
            | cost(network, inputs(slice(0, 1)))
        )
    outcomes = pd.DataFrame(rows)
    facts = _facts(outcomes, timed) | {
        "waiting": float(timed.waiting.mean()),
        "held": [group.name for group in cut.groups if group.held],
    }
    tables = {
        "Outcome": outcomes,
        "Checks": pd.DataFrame([dataclasses.asdict(check) for check in checked]),
        "Groups": pd.DataFrame([_group_row(group, cut.kept[group.name]) for group in cut.groups]),
        "Widths": _width_rows(experiment.network.module, cut.network),
        "Latency": timed,
    }
    notes = [f"No repair: {reason}"] if reason else []
    if held := facts["held"]:
        notes.append(f"{len(held)} of {len(cut.groups)} groups were not cut. {held_reasons(cut.groups)}.")
    passed = [check.passed for check in checked]
    answer = _answer(facts, sum(passed), len(passed))
    return Finding(experiment.spec, answer, tables, facts, tuple(notes), all(passed), fingerprint())


def masked_network(experiment: Experiment) -> nn.Module:
    """The network with the same fraction of single weights at zero, in dense kernels."""
    return experiment.clone(experiment.prune()).to("cpu")


def held_reasons(groups: Sequence[Group]) -> str:
    """Why groups are left whole, each reason once."""
    return "; ".join(dict.fromkeys(f"{group.name}: {group.held}" for group in groups if group.held))


def _facts(outcomes: pd.DataFrame, timed: pd.DataFrame) -> dict[str, Any]:
    by = outcomes.set_index("variant")
    last = "repaired" if "repaired" in by.index else "pruned"
    speed = timed.set_index(["batch", "network"]).median_ms
    return {
        "variant": last,
        "parameters": float(by.parameters[last] / by.parameters["dense"]),
        "multiply_adds": float(by.multiply_adds[last] / by.multiply_adds["dense"]),
        "speed": {str(batch): float(speed[batch, "dense"] / speed[batch, "structured"]) for batch in BATCHES},
        "zeros_speed": {str(batch): float(speed[batch, "dense"] / speed[batch, "zeros"]) for batch in BATCHES},
        "accuracy": {str(variant): float(by.accuracy[variant]) for variant in by.index},
    }


def _answer(facts: Mapping[str, Any], passed: int, total: int) -> str:
    scores, last = facts["accuracy"], facts["variant"]
    repaired = f", {percent(scores['repaired'])} after repair" if last == "repaired" else ""
    return (
        f"Cut to {whole_percent(facts['parameters'])} of its parameters and "
        f"{whole_percent(facts['multiply_adds'])} of its multiply-adds, the network reaches "
        f"{percent(scores['pruned'])}{repaired} (dense {percent(scores['dense'])}) and runs "
        f"{times(facts['speed']['1'])} times as fast on one image, {times(facts['speed']['64'])} times on 64. "
        f"{'All ' if passed == total else ''}{passed} of {total} checks of the cut pass."
    )


def cost(network: nn.Module, example: Tensor) -> dict[str, int]:
    """Parameters, and multiply-adds an image in convolutions and linear layers."""
    total = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": total, "multiply_adds": trace(network, example).multiply_adds}


def _group_row(group: Group, kept: int) -> dict[str, Any]:
    layers = {side: [member.layer for member in group.members if member.side == side] for side in ("out", "in")}
    return {
        "group": group.name,
        "role": group.role,
        "channels": group.channels,
        "kept": kept,
        "made by": ", ".join(dict.fromkeys(layers["out"])),
        "read by": ", ".join(dict.fromkeys(layers["in"])),
        "not cut because": group.held,
    }


def _width_rows(dense: nn.Module, cut: nn.Module) -> pd.DataFrame:
    before, after = widths(dense), widths(cut)
    return pd.DataFrame([{"layer": name, "before": before[name], "after": after[name]} for name in before])
