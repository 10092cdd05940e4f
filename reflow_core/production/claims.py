"""Claims about pruning in production, each tested on one's own model and machine.

The claims are those of a practitioner's article on pruned models in production and of the libraries' own notes. Each is
a function here, registered under its name; what several of them need is measured once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import nn

from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.diagnosis.diagnose import diagnose
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import percent, points_of
from reflow_core.errors import ReflowError
from reflow_core.machine import fingerprint
from reflow_core.production.channels import coupled, mismatches
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspect
from reflow_core.production.inspections.hardware import faster
from reflow_core.production.sensitivity import convolutions
from reflow_core.production.sparse import sparse_tensor_cores
from reflow_core.pruning.patterns import CHANNEL
from reflow_core.registry import Info, Registry
from reflow_core.signal.copies import clone_module
from reflow_core.sources.library import Library
from reflow_core.spec import QUANTIZE_ORDERS, Spec
from reflow_core.watch import Watch, ignore

HOLDS, FAILS, ELSEWHERE = "holds", "does not hold", "not measurable here"
ARTICLE = "article on pruned models in production"
TAIL = 10.0  # how many times rarer the last class is made, where rare classes are looked at
SPARSITIES = (0.5, 0.6, 0.7, 0.8)
LEAST = 10  # images of a class that is judged
READS = ("model", "data", "calibration_images", "calibration_view", "evaluation_images", "seed")  # of a spec


@dataclass(eq=False)
class Trial:
    """What a claim is tested on; `spec` has no repair but REFLOW, or none where that does not apply."""

    spec: Spec
    source: Library
    watch: Watch
    timed: bool = field(default=False, init=False)

    def diagnosis(self, **changes: Any) -> Diagnosis:
        """A diagnosis of the spec with changes, made once for all claims."""
        spec = normalize(self.spec, **changes)
        shared: Diagnosis = self.source.recall(("claim", spec), lambda: diagnose(spec, self.source, self.watch))
        return shared

    def finding(self, inspection: str, **changes: Any) -> Finding:
        """The finding of an inspection of the spec with changes, likewise."""
        spec = self.spec.replace(**changes)
        self.timed = True
        shared: Finding = self.source.recall(
            ("claim", inspection, spec), lambda: inspect(inspection, spec, self.source, self.watch)
        )
        return shared

    def timing(self) -> Finding:
        """The hardware inspection at 85 % sparsity."""
        return self.finding("hardware", sparsity=0.85)

    def cut(self, share: float, **changes: Any) -> Diagnosis:
        """The same share of channels cut in every early convolution."""
        early = convolutions(trace_of(self.spec, self.source).layers)
        if not early:
            raise ReflowError("This network has no convolution.")
        shares = ",".join(f"{name}:{share:g}" for name in early)
        return self.diagnosis(pattern=CHANNEL, allocation="custom", sparsity=0.0, layer_sparsity=shares, **changes)


# (trial) -> whether the claim holds (None: not measurable here), and what was measured, in a sentence.
Test = Callable[[Trial], tuple[bool | None, str]]
claims: Registry[Info, Test] = Registry("claim")  # title: the claim itself; paper: who says so


def claim(name: str, text: str, source: str = ARTICLE) -> Callable[[Test], Test]:
    """Register the test of a claim."""
    return claims.register(Info(name, text, text, source))


def try_claim(name: str, spec: Spec, source: Library, watch: Watch = ignore) -> Finding:
    """Whether a claim holds on a spec's model and images; of the spec only READS are read. Raises ReflowError."""
    info, test = claims[name].info, claims[name].function
    trial = Trial(plain(spec), source, watch)
    try:
        holds, measured = test(trial)
    except ReflowError as error:
        holds, measured = None, str(error)
    verdict = {True: HOLDS, False: FAILS, None: ELSEWHERE}[holds]
    facts = {"claim": info.title, "source": info.paper, "verdict": verdict, "measured": measured}
    machine = fingerprint() if trial.timed else ""
    tables = {"Claim": pd.DataFrame([facts])}
    return Finding(spec, f"{info.title}: {verdict}. {measured}", tables, facts, machine=machine)


def plain(spec: Spec) -> Spec:
    """The spec's model, images and seed, with magnitude pruning and REFLOW."""
    return Spec(**{name: getattr(spec, name) for name in READS})


def counted(spec: Spec, tested: Sequence[Finding]) -> Finding:
    """Every tested claim as a row, and how many hold."""
    table = pd.DataFrame(
        [dict(finding.facts) for finding in tested], columns=["claim", "verdict", "measured", "source"]
    )
    counts = table.verdict.value_counts()
    held, failed = int(counts.get(HOLDS, 0)), int(counts.get(FAILS, 0))
    answer = (
        f"Of {len(table)} claims about pruning in production {held} hold on this model and machine, {failed} do not, "
        f"and {len(table) - held - failed} cannot be measured here."
    )
    machine = next((finding.machine for finding in tested if finding.machine), "")
    facts = {"counts": {str(verdict): int(count) for verdict, count in counts.items()}}
    return Finding(spec, answer, {"Claims": table}, facts, machine=machine)


@claim("rare", "Cutting 45 % of the early channels costs 1 point overall but 12 on rare classes; cutting 25 % is fine")
def rare(trial: Trial) -> tuple[bool | None, str]:
    """Classes under a long tail, after the repair."""
    much, little = (trial.cut(share, evaluation_tail=TAIL) for share in (0.45, 0.25))
    (whole, worst, name), (_, mild, _) = (_rarest(diagnosis) for diagnosis in (much, little))
    measured = (
        f"45 %: {points_of(whole)} overall, {points_of(worst)} on the worst of the rarer half, class {name}; "
        f"25 %: at worst {points_of(mild)} (tail 1:{TAIL:g}, {much.last})."
    )
    return whole <= 0.02 and worst >= 0.05 and mild < worst, measured


def _rarest(diagnosis: Diagnosis) -> tuple[float, float, str]:
    """Loss overall, loss of the worst class of the rarer half (of those with LEAST images), and its name."""
    labels = diagnosis.labels
    if labels is None:
        raise ReflowError("The images have no labels.")
    dense, last = (diagnosis.predictions[variant].predicted == labels for variant in ("dense", diagnosis.last))
    counts = pd.Series(labels).value_counts()
    rarer = [label for label in counts.index[len(counts) // 2 :] if counts[label] >= LEAST]
    if not rarer:
        raise ReflowError(f"No rare class has {LEAST} images.")
    losses = {label: float(dense[labels == label].mean() - last[labels == label].mean()) for label in rarer}
    worst = max(losses, key=lambda label: losses[label])
    return float(dense.mean() - last.mean()), losses[worst], diagnosis.classes[int(worst)]


@claim("early-channels", "50 % of the early channels lose 5 to 10 points that fine-tuning cannot recover")
def early_channels(trial: Trial) -> tuple[bool | None, str]:
    """A short fine-tune after the cut."""
    tuned, bare = (trial.cut(0.5, repair=repair) for repair in ("fine-tune", "none"))
    before, after = tuned.dense.score - bare.pruned.score, tuned.dense.score - tuned.final.score
    how = tuned.reason or f"a short fine-tune ({tuned.repair_report})"
    measured = f"{points_of(before)} lost by the cut, {points_of(after)} still lost after {how}"
    return after >= 0.05, measured


@claim("early-tolerance", "Early convolutions tolerate 10 to 20 %, late classifier layers 50 to 70 %", "rule of thumb")
def early_tolerance(trial: Trial) -> tuple[bool | None, str]:
    """The first convolution and the classifier alone: the largest share that costs a point at most, unrepaired."""
    layers = trace_of(trial.spec, trial.source).layers
    first, classifier = (_tolerated(trial, name) for name in (layers[0].name, layers[-1].name))
    both = f"{layers[0].name} tolerates {100 * first:.0f} %, {layers[-1].name} {100 * classifier:.0f} %"
    return first <= 0.3 and 0.4 <= classifier <= 0.8, f"At a loss of a point at most, {both}."


def _tolerated(trial: Trial, layer: str) -> float:
    tolerated = 0.0
    for share in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9):
        alone = f"{layer}:{share:g}"
        diagnosis = trial.diagnosis(allocation="custom", sparsity=0.0, layer_sparsity=alone, repair="none")
        if diagnosis.dense.score - diagnosis.pruned.score > 0.01:
            break
        tolerated = share
    return tolerated


@claim("zeros", "Unstructured zeros bring no speed in dense kernels", "PyTorch's notes on sparsity")
def zeros(trial: Trial) -> tuple[bool | None, str]:
    """Zeros beside dense at 85 %, at batch 1, 8 and 64."""
    speed = trial.timing().facts["speed"]["zeros"]
    times = ", ".join(f"{speed[batch]:.2f}× at batch {batch}" for batch in speed)
    return not faster(speed), f"With 85 % zeros: {times}."


@claim("cpu-crossover", "Sparse kernels on a CPU pay only above 90 to 95 % sparsity")
def cpu_crossover(trial: Trial) -> tuple[bool | None, str]:
    """Where CSR begins to be as fast as dense."""
    crossover = trial.timing().facts["crossover"]
    by_batch = ", ".join(
        f"batch {batch}: " + ("never" if at is None else f"{100 * at:.0f} %") for batch, at in crossover.items()
    )
    reached = [at for at in crossover.values() if at is not None]
    return not reached or min(reached) >= 0.9, f"The costliest layer as CSR is as fast as dense from: {by_batch}."


@claim("generic", "Generic sparse formats pay only above 95 to 98 % sparsity", "torchao's notes on sparsity")
def generic(trial: Trial) -> tuple[bool | None, str]:
    """CSR is such a format: the lowest sparsity, at any batch size, from which it is as fast as dense."""
    reached = [at for at in trial.timing().facts["crossover"].values() if at is not None]
    if not reached:
        return True, "The costliest layer as CSR is never as fast as dense."
    lowest = min(reached)
    return lowest >= 0.95, f"At the batch that suits it best, CSR is as fast as dense from {100 * lowest:.0f} %."


@claim("batch", "85 % unstructured sparsity is 2.5 times as fast at batch 64 offline, but slower at batch 1 in service")
def batch(trial: Trial) -> tuple[bool | None, str]:
    """CSR end to end at both batch sizes."""
    speed = trial.timing().facts["speed"]["CSR"]
    measured = f"CSR end to end at 85 %: {speed['64']:.2f}× at batch 64, {speed['1']:.2f}× at batch 1."
    return speed["64"] >= 2 and speed["1"] < 1, measured


@claim("two-four", "2:4 on sparse tensor cores gives 1.3 to 1.9 times the speed of the matrix product")
def two_four(trial: Trial) -> tuple[bool | None, str]:
    """This needs a GPU with sparse tensor cores, and eligible layers."""
    if reason := sparse_tensor_cores():
        return None, f"2:4 needs sparse tensor cores: {reason}."
    table = trial.timing().tables["2:4"]
    timed = table[table.eligible]
    if timed.empty:
        return None, "No layer of this network can run as 2:4 (see the Hardware page)."
    speed = timed.speed.astype(float)
    return bool(speed.median() >= 1.3), f"{len(timed)} layers, median {speed.median():.2f}×."


@claim("two-four-end", "2:4 end to end gives 1.3 times the speed, and 0.7 to 1.25 times is common")
def two_four_end(trial: Trial) -> tuple[bool | None, str]:
    """PyTorch has 2:4 kernels for linear layers only, so a network of convolutions has no end to end."""
    table = trial.timing().tables["2:4"]
    linear = int(table.kind.eq("Linear").sum())
    return None, f"PyTorch runs 2:4 in linear layers only: {linear} of the {len(table)} layers of this network."


@claim("prune-quantize", "A network that is pruned, then quantized without recalibration, loses 3 to 7 points")
def prune_quantize(trial: Trial) -> tuple[bool | None, str]:
    """int8 at the largest sparsity at which pruning alone loses 5 points at most."""
    at, finding = _edge(trial)
    loss = finding.facts["loss"]
    repaired = loss.get("repaired_int8")
    also = "" if repaired is None else f", with REFLOW between {points_of(repaired)}"
    measured = (
        f"At {100 * at:.0f} % pruning alone loses {points_of(loss['pruned_float32'])}, int8 alone "
        f"{points_of(loss['dense_int8'])}, both {points_of(loss['pruned_int8'])}{also}."
    )
    return 0.03 <= loss["pruned_int8"] - loss["pruned_float32"] <= 0.07, measured


def _edge(trial: Trial) -> tuple[float, Finding]:
    at = SPARSITIES[0]
    for sparsity in SPARSITIES:
        diagnosis = trial.diagnosis(sparsity=sparsity, repair="none")
        if diagnosis.dense.score - diagnosis.pruned.score > 0.05:
            break
        at = sparsity
    return at, trial.finding("quantize", sparsity=at)


@claim("order", "Prune, recalibrate, fold, quantize is the right order")
def order(trial: Trial) -> tuple[bool | None, str]:
    """The three orders at 80 %."""
    facts = {name: trial.finding("quantize", sparsity=0.8, quantize_order=name).facts for name in QUANTIZE_ORDERS}
    lost = {name: fact["loss"][f"{fact['variant']}_int8"] for name, fact in facts.items()}
    by_order = ", ".join(f"{name.replace('-', ' → ')} {points_of(value)}" for name, value in lost.items())
    return lost[QUANTIZE_ORDERS[0]] <= min(lost.values()) + 0.005, f"Points lost at 80 %: {by_order}."


@claim("projection", "A shortcut projection that pruning missed goes unnoticed, because the addition broadcasts it")
def projection(trial: Trial) -> tuple[bool | None, str]:
    """Plant the fault, a main-path layer with one output channel: does the network run, and is it caught by name?"""
    network = trial.source.network(trial.spec.model)
    images = evaluation_inputs(trial.source.images(trial.spec).test, network.info)(slice(0, 2))
    classifier = trace_of(trial.spec, trial.source).classifier
    groups = [group for group in coupled(network.module, images, classifier, trial.watch) if "shortcut" in group.role]
    channels = {group.name: group.channels for group in groups}
    for group in groups:
        for member in group.members:
            planted = clone_module(network.module)
            if member.side != "out" or not narrowed(planted, member.layer):
                continue
            try:
                with torch.inference_mode():
                    planted(images)
            except (RuntimeError, ValueError):
                continue
            wrong = list(mismatches(planted, network.module, groups, channels))
            caught = f"Caught by name: {wrong[0]}." if wrong else "It is not caught."
            return True, f"{member.layer} with one channel runs without an error. {caught}"
    return None, "No layer of this network can be narrowed to one channel so that it still runs."


def narrowed(network: nn.Module, name: str) -> bool:
    """Give a convolution and the BatchNorm behind it in the same container one channel; whether that was possible."""
    module = network.get_submodule(name)
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        return False
    siblings = list(network.get_submodule(name.rpartition(".")[0]).named_children())
    place = [child for _, child in siblings].index(module)
    with torch.no_grad():
        module.weight = nn.Parameter(module.weight[:1].clone(), requires_grad=False)
        module.bias = None if module.bias is None else nn.Parameter(module.bias[:1].clone(), requires_grad=False)
        module.out_channels = 1
        for _, norm in siblings[place + 1 : place + 2]:
            if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
                norm.weight, norm.bias = (nn.Parameter(value[:1].clone(), False) for value in (norm.weight, norm.bias))
                norm.running_mean, norm.running_var = norm.running_mean[:1].clone(), norm.running_var[:1].clone()
                norm.num_features = 1
    return True


@claim("long-inputs", "98 % overall can hide a loss of 10 points on long inputs")
def long_inputs(trial: Trial) -> tuple[bool | None, str]:
    """Images have no length; the nearest thing here is a slice of one's own CSV column."""
    return None, "Images have no length. Bring a column (resolution, length) to the Slices page: it becomes slices."


@claim("heads", "Attention heads that look superfluous matter on some inputs")
def heads(trial: Trial) -> tuple[bool | None, str]:
    """Out of scope: attention heads are not cut here."""
    return None, "Out of scope: this lab cuts channels of convolutions and linear layers, not attention heads."


@claim("layernorm", "Networks without BatchNorm collapse too, and they store no statistics to re-estimate")
def layernorm(trial: Trial) -> tuple[bool | None, str]:
    """The shipped LayerNorm network at 90 %: its collapse, and why REFLOW does not apply."""
    spec = Spec(model="convnext-digits", sparsity=0.9, evaluation_images=trial.spec.evaluation_images)
    diagnosis: Diagnosis = trial.source.recall(("claim", spec), lambda: diagnose(spec, trial.source, trial.watch))
    dense, pruned = diagnosis.dense.score, diagnosis.pruned.score
    measured = f"convnext-digits at 90 %: {percent(pruned)} (dense {percent(dense)}). {diagnosis.reason}"
    return diagnosis.repaired is None and pruned < 0.5, measured
