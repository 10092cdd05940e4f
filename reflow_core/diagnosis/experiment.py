"""An experiment: one spec's network and images, opened once, to be pruned, repaired and observed."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reflow_core.diagnosis.calibration import evaluation, evaluation_inputs, no_training_images
from reflow_core.diagnosis.evaluate import Observation, observe
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.form import Form, half_pays, lay_out, precision, quickest
from reflow_core.diagnosis.pruner import Pruned, Pruner, Start
from reflow_core.diagnosis.stages import earlier_stages, fitted_between, repair_between
from reflow_core.errors import NotApplicable, ReflowError
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.machine import out_of_memory
from reflow_core.repairs import Calibration, Told, repairs
from reflow_core.repairs.reflow import recalibrate
from reflow_core.signal.copies import clone_module, device_of
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.predictions import Predictions
from reflow_core.signal.trace import Trace, trace
from reflow_core.sources.library import Library, Network
from reflow_core.spec import CALIBRATION, DEFAULTS, EVALUATION, Spec
from reflow_core.watch import Watch


@dataclass(frozen=True, eq=False, slots=True)
class Experiment:
    """What a spec's names resolved to, what can be done with it, and the `seconds` that each stage took.

    `source` lends what many specs share; its networks are never changed. `preview`: whether what becomes of the pruned
    network is computed in bfloat16.
    """

    spec: Spec
    source: Library
    watch: Watch
    network: Network
    images: ImageSet
    evaluation: Images
    trace: Trace
    pruner: Pruner
    preview: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(
        cls, spec: Spec, source: Library, watch: Watch, preview: bool = False, lent: Calibration | None = None
    ) -> Iterator[Experiment]:
        """Resolve the names, trace the network. Raises ReflowError, also where memory runs out in the body.

        `lent`: see `Pruner`.
        """
        with memory_in_words():
            begun = time.perf_counter()
            watch("load", 0, 1)
            network, images = source.network(spec.model), source.images(spec)
            plan, evaluated = trace_of(spec, source), evaluation(spec, images)
            example = evaluation_inputs(evaluated, network.info)(slice(0, 1))
            stages = in_stages(spec, source, watch)
            pruner = Pruner(spec, source, network, images, plan, example, watch, stages, lent)
            opened = cls(spec, source, watch, network, images, evaluated, plan, pruner, preview)
            opened.seconds["load"] = time.perf_counter() - begun
            yield opened

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of its body under `stage`."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start

    def dense(self) -> Observation:
        """The dense network's observation, shared by all specs on the same images."""
        key = ("dense", self.network.digest, *self.evaluation_key())
        shared: Observation = self.source.recall(key, lambda: self.observe(lent(self.spec, self.source), "dense"))
        return shared

    def control(self) -> Predictions | None:
        """What the *dense* network predicts once REFLOW recalibrated it; None where there is nothing to recalibrate.

        Shared by all specs on the same images, so its calibration set is the spec's, or the default one for a repair
        that reads none.
        """
        asked = (getattr(self.spec, name) for name in (*CALIBRATION, "statistics", "calibration_batch"))
        key = ("control", self.network.digest, *self.evaluation_key(), *asked)
        shared: Predictions | None = self.source.recall(key, self._control)
        return shared

    def _control(self) -> Predictions | None:
        if len(self.images.train) == 0 or not batch_norms(self.network.module):
            return None
        network = lay_out(clone_module(self.network.module).to(self.source.device), self.form.layout)
        recalibrate(network, self.pruner.calibration, lambda _, done, total: self.watch("control", done, total))
        return self.observe(network, "control", dataclasses.replace(self.trace, sites=())).predictions

    def evaluation_key(self) -> tuple[object, ...]:
        """All that the evaluation images depend on."""
        calibrating = CALIBRATION if self.spec.evaluation_split == "train" else ()
        decisive = (*EVALUATION[1:], *calibrating)
        return self.images.digest, len(self.evaluation), *(getattr(self.spec, name) for name in decisive)

    def prune(self) -> Pruned:
        """What is kept and the weights that are left; its seconds are those of the one time it was computed."""
        pruned = self.pruner.prune()
        self.seconds["prune"] = pruned.seconds
        return pruned

    def clone(self, pruned: Pruned) -> nn.Module:
        """A private copy of the network with the pruned weights, where networks run."""
        network = clone_module(self.pruner.base.module)
        self.pruner.install(network, pruned)
        return network.to(self.source.device)

    def observe_pruned(self, pruned: Pruned) -> tuple[Observation, nn.Module]:
        """The pruned network's observation, shared by all repairs, and a private copy of the network to repair."""
        network = self.clone(pruned)
        key = ("observed", self.preview, *self.pruner.key(), *self.evaluation_key())
        compute = lambda: self.observe(network, "pruned", half=self.preview)  # noqa: E731
        shared: Observation = self.source.recall(key, compute, "selections")
        return shared, network

    def repair(self, network: nn.Module, narrower: bool = False) -> tuple[Told | None, str | None]:
        """Repair a private network in place: (what was changed, None) or (None, why not).

        `narrower`: whether channels are gone, so that layers cannot be compared with dense channel by channel.
        """
        repair = repairs[self.spec.repair]
        if narrower and not repair.info.any_width:
            title = repair.info.title
            return None, (
                f"{title} compares the network with dense channel by channel, and channels were removed; choose REFLOW."
            )
        if repair.info.needs_data and len(self.images.train) == 0:
            return None, str(no_training_images(self.images))
        network.to(self.source.device if repair.info.on_device else "cpu")
        if repair.info.on_device:
            lay_out(network, self.form.layout)
        half = self.preview and "statistics" in repair.info.reads  # others solve equations, or train
        ridges = {} if narrower else self.pruner.start.ridges
        calibration = dataclasses.replace(self.pruner.calibration, ridges=ridges)
        try:
            with precision(device_of(network), half):
                told = repair.function(self.network.module, network, calibration, self.watch)
            return Told.of(told), None
        except NotApplicable as why:
            return None, str(why)
        finally:
            lay_out(network.to(self.source.device), torch.contiguous_format)

    def observe(self, network: nn.Module, stage: str, plan: Trace | None = None, half: bool = False) -> Observation:
        """Run the evaluation images through a copy of a network, probing its layers; `plan`: its trace, if another.

        `half`: whether in bfloat16.
        """
        form, count = dataclasses.replace(self.form, half=half), len(self.evaluation)
        return observe(network, plan or self.trace, self.inputs, self.labels, count, self.watch, stage, form)

    @property
    def form(self) -> Form:
        """How this network runs quickest on this machine."""
        return form_of(self.spec, self.source)

    def inputs(self, part: slice) -> Tensor:
        """A part of the evaluation images, normalized: (n, 3, H, W) on the CPU."""
        return evaluation_inputs(self.evaluation, self.network.info)(part)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """True classes of the evaluation images (N,), None without labels."""
        return None if self.evaluation.labels is None else self.evaluation.labels.numpy()


def in_stages(spec: Spec, source: Library, watch: Watch) -> Callable[[Calibration], Start] | None:
    """Makes what the stage before the spec's own leaves; None where there is none.

    What it makes is given the calibration set of the spec; each stage is repaired on what of it may be fitted.
    """
    if not (earlier := earlier_stages(spec)):
        return None

    def count(stage: str, done: int, total: int) -> None:
        if stage == "load":
            watch(stage, done, total)
        else:
            watch("stages", done if stage == "stages" else len(earlier) - 1, len(earlier))

    evaluation = {name: DEFAULTS[name] for name in EVALUATION if name != "seed"}  # on which the stages do not depend
    before = normalize(spec.replace(**evaluation), sparsity=earlier[-1], repair=repair_between(spec))

    def begin(calibration: Calibration) -> Start:
        lent = fitted_between(spec, calibration)
        key = ("stage", before, len(lent.inputs), source.identity(spec))
        begun: Start = source.recall(key, lambda: _repaired(before, source, count, lent), "stages")
        return begun

    return begin


def _repaired(spec: Spec, source: Library, watch: Watch, lent: Calibration) -> Start:
    """The network of a spec, pruned and repaired; where its repair does not apply, pruned."""
    with Experiment.open(spec, source, watch, lent=lent) as experiment:
        network = experiment.clone(experiment.prune())
        with experiment.timed("calibrate"):
            told, _ = experiment.repair(network)
        network.to("cpu").eval().requires_grad_(False)
        told_apart = f"{spec.canonical()}|{len(lent.inputs)}|{source.identity(spec)}"
        digest = hashlib.sha256(told_apart.encode()).hexdigest()
        seconds = experiment.seconds["prune"] + experiment.seconds["calibrate"]
        left = dataclasses.replace(experiment.network, module=network, digest=digest)
        return Start(left, seconds, told.ridges) if told else Start(left, seconds)


def trace_of(spec: Spec, source: Library) -> Trace:
    """How the network of a spec runs, learned once. Raises ReflowError."""
    network = source.network(spec.model)
    example = evaluation_inputs(source.images(spec).test, network.info)(slice(0, 1))
    shared: Trace = source.recall(("trace", network.digest, network.info.size), lambda: trace(network.module, example))
    return shared


def form_of(spec: Spec, source: Library) -> Form:
    """How the network of a spec runs quickest on this machine, found out once. Raises ReflowError."""
    network = source.network(spec.model)
    inputs = evaluation_inputs(source.images(spec).test, network.info)
    form: Form = source.recall(
        ("form", network.digest, network.info.size),
        lambda: quickest(lent(spec, source), trace_of(spec, source), inputs, source.public),
    )
    return form


def lent(spec: Spec, source: Library) -> nn.Module:
    """The network of a spec where networks run, to be copied but neither hooked nor changed. Raises ReflowError."""
    network, device = source.network(spec.model).module, torch.device(source.device)
    return network if device_of(network) == device else clone_module(network).to(device)


def half_pays_for(spec: Spec, source: Library) -> bool:
    """Whether bfloat16 makes the network of a spec much quicker on this machine, likewise. Raises ReflowError."""
    network = source.network(spec.model)
    inputs = evaluation_inputs(source.images(spec).test, network.info)
    form = form_of(spec, source)
    pays: bool = source.recall(
        ("half", network.digest, network.info.size),
        lambda: half_pays(lent(spec, source), form, inputs, source.public),
    )
    return pays


@contextmanager
def memory_in_words() -> Iterator[None]:
    """Turns torch's own error into a ReflowError where memory runs out in the body."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise ReflowError(
            "Out of memory: use fewer calibration images, a smaller network, or another device."
        ) from error
