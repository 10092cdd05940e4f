"""The one function: a spec in, a diagnosis out. Knows no store, no executor and no page."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from reflow_core.diagnosis.calibration import evaluation, evaluation_inputs, no_training_images
from reflow_core.diagnosis.pruner import Pruned, Pruner
from reflow_core.diagnosis.result import Diagnosis, Layer, finite
from reflow_core.errors import ReflowError
from reflow_core.images.corruptions import CLEAN, parsed
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.machine import out_of_memory
from reflow_core.networks.info import NetworkInfo
from reflow_core.pruning.allocations import allocations
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.masks import Masks, install, kept_sample, sparsity_of
from reflow_core.pruning.patterns import N_OF_M
from reflow_core.pruning.updates import updates
from reflow_core.repairs import NotApplicable, repairs
from reflow_core.signal import stats
from reflow_core.signal.copies import private_copy, readable
from reflow_core.signal.probes import BATCH, PROBED, Observation, observe
from reflow_core.signal.trace import Anatomy, anatomy
from reflow_core.sources.library import Library, Network
from reflow_core.spec import CALIBRATION, DEFAULTS, EVALUATION, Spec, parted
from reflow_core.watch import Watch, ignore

READ_BY_SOME = ("statistics", "calibration_batch")
BUDGET = ("sparsity", "allocation", "layer_sparsity")
HARDLY = 1.5  # a dense network under this multiple of chance is no network for these images


def diagnose(spec: Spec, source: Library, watch: Watch = ignore) -> Diagnosis:
    """Prune, measure, repair and measure again, as `spec` says; the same spec and content give the same result.

    `source` resolves names to content and lends what many specs share; its networks are never changed. `watch` is
    called at every batch and layer and may raise `Cancelled`. Raises ReflowError for names or content that cannot be
    used, and where memory runs out.
    """
    check(spec)
    with memory_told():
        return _diagnosed(Bench(spec, source, watch))


@contextmanager
def memory_told() -> Iterator[None]:
    """Turns torch's own error into a ReflowError where memory runs out in the body."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise ReflowError(
            "Memory ran out: use fewer calibration images, a smaller network, or another device."
        ) from error


def _diagnosed(bench: Bench) -> Diagnosis:
    with bench.timed("load"):
        bench.open()
    with bench.timed("dense"):
        dense = bench.dense()
    pruned = bench.prune()
    with bench.timed("pruned"):
        observation, private = bench.pruned(pruned)
    observed = {"dense": dense, "pruned": observation}
    with bench.timed("calibrate"):
        report, reason = bench.repair(private)
    if report is not None:
        with bench.timed("repaired"):
            observed["repaired"] = bench.observe(private, "repaired")
    return bench.diagnosis(pruned.masks, observed, report, reason)


def check(spec: Spec, also: Collection[str] = (), never: Collection[str] = ()) -> None:
    """Raises ReflowError for a name that is not registered, with the nearest match, and for a value without meaning.

    `also`: fields that are read besides by who asks. `never`: fields that are not read by who asks.
    """
    unread = idle(spec, also) | dict.fromkeys(never, "nothing reads it here")
    for name, why in unread.items():
        if (value := getattr(spec, name)) != DEFAULTS[name]:
            raise ReflowError(f"{name}={value} has no meaning here: {why}; leave it out.")


def idle(spec: Spec, also: Collection[str] = ()) -> dict[str, str]:
    """The fields of a spec that nothing reads, and why; `also`: fields that are read besides by who asks.

    Raises ReflowError for a name that is not registered.
    """
    allocation, repair = allocations[spec.allocation].info, repairs[spec.repair].info
    if spec.corruption != CLEAN:
        parsed(spec.corruption)
    reading = [repair, criteria[spec.criterion].info, updates[spec.update].info]
    unread: dict[str, str] = {}
    if spec.statistics == "population":
        unread["calibration_batch"] = "'population' statistics do not depend on the batch"
    for name in READ_BY_SOME:
        if name not in repair.reads:
            unread[name] = f"repair {repair.name!r} does not read it"
    unread["quantise_order"] = "only quantisation reads it"
    if "layer_sparsity" not in allocation.reads:
        unread["layer_sparsity"] = f"allocation {allocation.name!r} does not read it"
    if spec.pattern in N_OF_M:
        unread |= dict.fromkeys(BUDGET, f"the pattern {spec.pattern} says how many weights each layer keeps")
    if not any(info.needs_data for info in reading):
        names = " and ".join(repr(info.name) for info in reading[:2])
        unread |= dict.fromkeys(CALIBRATION, f"{names} read no calibration images")
    return {name: why for name, why in unread.items() if name not in also}


def anatomy_of(spec: Spec, source: Library) -> Anatomy:
    """How the network of a spec is built, learned once. Raises ReflowError."""
    network = source.network(spec.model)
    example = evaluation_inputs(source.images(spec).test, network.info)(slice(0, 1))
    found: Anatomy = source.recall(
        ("anatomy", network.digest, network.info.size), lambda: anatomy(network.module, example)
    )
    return found


def settle(spec: Spec, **changes: str | float | int) -> Spec:
    """A spec with some fields changed and those that nothing reads at their defaults: an arm beside others."""
    spec = spec.replace(**changes)
    return spec.replace(**{name: DEFAULTS[name] for name in idle(spec)})


@dataclass
class Bench:
    """One diagnosis under way: what it works on and the seconds each stage took."""

    spec: Spec
    source: Library
    watch: Watch
    seconds: dict[str, float] = field(default_factory=dict)
    network: Network = field(init=False)
    images: ImageSet = field(init=False)
    evaluation: Images = field(init=False)
    anatomy: Anatomy = field(init=False)
    pruner: Pruner = field(init=False)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of its body under `stage`."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start

    def open(self) -> None:
        """Resolve the names and learn the network's anatomy."""
        self.watch("load", 0, 1)
        self.network, self.images = self.source.network(self.spec.model), self.source.images(self.spec)
        self.evaluation = evaluation(self.spec, self.images)
        self.anatomy = anatomy_of(self.spec, self.source)
        example = self.inputs(slice(0, 1))
        self.pruner = Pruner(self.spec, self.source, self.network, self.images, self.anatomy, example, self.watch)

    def dense(self) -> Observation:
        """The dense network's observation, shared by all specs on the same images."""
        key = ("dense", self.network.digest, *self.evaluation_key())
        found: Observation = self.source.recall(
            key, lambda: self.observe(readable(self.network.module, self.source.device), "dense")
        )
        return found

    def evaluation_key(self) -> tuple[object, ...]:
        """All that the evaluation images depend on."""
        return self.images.digest, len(self.evaluation), *(getattr(self.spec, name) for name in EVALUATION[1:])

    def prune(self) -> Pruned:
        """What is kept and the weights that are left; its seconds are those of the one time it was computed."""
        found = self.pruner.prune()
        self.seconds["prune"] = found.seconds
        return found

    def private(self, pruned: Pruned) -> nn.Module:
        """A private copy of the network with the pruned weights, where networks run."""
        private = private_copy(self.network.module)
        install(private, pruned.weights)
        return private.to(self.source.device)

    def pruned(self, pruned: Pruned) -> tuple[Observation, nn.Module]:
        """The pruned network's observation, shared by all repairs, and a private copy of the network to repair."""
        private = self.private(pruned)
        key = ("observed", *self.pruner.key(), *self.evaluation_key())
        found: Observation = self.source.recall(key, lambda: self.observe(private, "pruned"), "selections")
        return found, private

    def repair(self, private: nn.Module) -> tuple[str | None, str | None]:
        """Repair the private copy in place: (what was changed, None) or (None, why not)."""
        repair = repairs[self.spec.repair]
        if repair.info.needs_data and len(self.images.train) == 0:
            return None, str(no_training_images(self.images))
        private.to(self.source.device if repair.info.on_device else "cpu")
        try:
            return repair.function(self.network.module, private, self.pruner.calibration, self.watch), None
        except NotApplicable as why:
            return None, str(why)
        finally:
            private.to(self.source.device)

    def observe(self, private: nn.Module, stage: str) -> Observation:
        """Run the evaluation images through a private copy, probing its layers."""
        return observe(private, self.anatomy, self.inputs, self.labels, len(self.evaluation), self.watch, stage)

    def inputs(self, part: slice) -> Tensor:
        """A part of the evaluation images, normalised: (n, 3, H, W) on the CPU."""
        return evaluation_inputs(self.evaluation, self.network.info)(part)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """True classes of the evaluation images (N,), None without labels."""
        return None if self.evaluation.labels is None else self.evaluation.labels.numpy()

    def diagnosis(
        self, masks: Masks, observed: Mapping[str, Observation], report: str | None, reason: str | None
    ) -> Diagnosis:
        """Put everything found together."""
        return Diagnosis(
            spec=self.spec,
            data=self.images.name,
            classes=self.images.classes,
            labels=self.labels,
            answers={arm: observation.answers for arm, observation in observed.items()},
            layers=layers(self.anatomy, masks, observed),
            sparsity=sparsity_of(masks),
            weights=sum(mask.numel() for mask in masks.values()),
            probed=min(PROBED, len(self.evaluation)),
            reason=reason,
            repair_report=report,
            unmeasured=self.anatomy.unmeasured,
            notes=tuple(self.notes(observed)),
            kept=kept_sample(masks),
            seconds=self.seconds,
        )

    def right(self, observation: Observation) -> float:
        """The share of the answers that are right, 0 to 1, of labelled images."""
        return float((observation.answers.predicted == self.labels).mean())

    def notes(self, observed: Mapping[str, Observation]) -> Iterator[str]:
        """What the person should know about the input and the output."""
        yield from self.images.notes
        asked, there = self.spec.evaluation_images, len(self.evaluation)
        if there < min(asked, len(self.images.test)):
            yield f"The evaluation set is long-tailed: {there} of the {min(asked, len(self.images.test))} images."
        elif there < asked:
            yield f"{asked} evaluation images were asked for; the data have {there}."
        yield from self.pruner.notes()
        asked, there = self.spec.calibration_images, len(self.images.train)
        if self.spec.repair != "none" and 0 < there < asked:
            yield f"{asked} calibration images were asked for; the data have {there}."
        for arm, observation in observed.items():
            if observation.batch < BATCH:
                yield f"Memory was short: the {arm} network saw its images in batches of {observation.batch}."
        if "calibration_view" not in idle(self.spec) and self.spec.calibration_view == "train":
            yield from view_notes(self.spec.model, self.network.info)
        if self.evaluation.labels is None:
            yield "The images have no labels, so accuracy is not available; histograms and ratios work."
        elif (right := self.right(observed["dense"])) < HARDLY / len(self.images.classes):
            yield (
                f"The dense network is right on only {100 * right:.1f} % of the images, hardly more than chance: "
                "do these weights belong to these images, their classes and their normalisation?"
            )
        for arm, observation in observed.items():
            if not observation.answers.finite:
                yield f"The {arm} network puts out NaN or infinity for some images."


def view_notes(model: str, info: NetworkInfo) -> Iterator[str]:
    """What is only assumed of the images that training saw: statistics should come from the like of them."""
    if not info.train_view:
        yield (
            "Nobody said how training augmented its images, so clean ones calibrate, which can cost points: if you "
            "know it, choose the calibration view (cifar, imagenet, affine)."
        )
    elif parted(model)[1]:
        yield (
            f"The checkpoint is taken to be trained as {info.name} was, on images of the view {info.train_view!r}: if "
            "it was not, choose another calibration view."
        )


def layers(anatomy: Anatomy, masks: Masks, observed: Mapping[str, Observation]) -> tuple[Layer, ...]:
    """One row a measured site, in the order of execution."""
    cka, cosine = (similarity(measure, observed) for measure in (stats.cka, stats.cosine))
    return tuple(
        Layer(
            name=site.name,
            kind=site.kind,
            weights=site.weights,
            sparsity=sparsity_of({site.weights: masks[site.weights]}) if site.weights else None,
            variance={arm: found.signals[site.name].variance for arm, found in observed.items()},
            cka={arm: finite(found[site.name]) for arm, found in cka.items()},
            cosine={arm: finite(found[site.name]) for arm, found in cosine.items()},
            eps_floor={arm: found.signals[site.name].eps_floor for arm, found in observed.items()},
        )
        for site in anatomy.sites
    )


def similarity(measure: stats.Similarity, observed: Mapping[str, Observation]) -> dict[str, dict[str, float]]:
    """Similarity of each arm's sketches to dense's, by arm and layer name; layers of one width are compared at once."""
    dense = observed["dense"].signals
    widths: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, signal in dense.items():
        widths[signal.sketch.shape].append(name)
    found: dict[str, dict[str, float]] = {arm: {} for arm in observed if arm != "dense"}
    for names in widths.values():
        wanted = np.stack([dense[name].sketch for name in names])
        for arm, values in found.items():
            alike = measure(np.stack([observed[arm].signals[name].sketch for name in names]), wanted)
            values |= zip(names, alike.tolist(), strict=True)
    return found
