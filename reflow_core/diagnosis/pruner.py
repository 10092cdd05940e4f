"""From a spec to a pruned network: what is kept, and the values of the weights that are left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from reflow_core.diagnosis.calibration import calibration, no_training_images
from reflow_core.diagnosis.silence import silence_channels
from reflow_core.diagnosis.stages import earlier_stages, fitted_between, repair_between
from reflow_core.images.image_set import ImageSet
from reflow_core.memo import Memo, lazy
from reflow_core.numbers import whole_percent
from reflow_core.pruning.allocations import Budget
from reflow_core.pruning.criteria import Samples, Subject, criteria
from reflow_core.pruning.gradients import MOST_SAMPLES, gradient_matrix
from reflow_core.pruning.masks import Masks, Scores, Weights, install
from reflow_core.pruning.patterns import CHANNEL, N_OF_M, UNSTRUCTURED, divisible, parse
from reflow_core.pruning.select import Rules, choose, score
from reflow_core.pruning.updates import updates
from reflow_core.repairs import Calibration, repairs
from reflow_core.signal.layers import PRUNABLE, prunable
from reflow_core.signal.trace import Trace
from reflow_core.sources.library import Library, Network
from reflow_core.spec import CALIBRATION, STAGED, Spec, by_layer
from reflow_core.watch import Watch

T = TypeVar("T")
SELECTION = ("criterion", "update", "allocation", "pattern", "sparsity", "layer_sparsity", "exclude", "stages", "seed")
READ_BETWEEN = ("statistics", "calibration_batch")  # by the repair between two stages


@dataclass(frozen=True, eq=False, slots=True)
class Pruned:
    """Masks (True: kept) and the weights with zeros where they are False, by layer name; `seconds`: what they cost."""

    masks: Masks
    weights: Weights
    seconds: float = 0.0


class Start(NamedTuple):
    """Where a stage begins: the network, the seconds that it took, and the ridges of the layers that were fitted."""

    network: Network
    seconds: float = 0.0
    ridges: Mapping[str, float] = MappingProxyType({})


@dataclass(eq=False)
class Pruner:
    """Prunes one network as a spec says; what other specs can use too is kept in `source`.

    `begin`: makes what the last of several stages begins with; None where there is one stage.
    `lent`: the calibration set of the stage that follows, which is this one's too.
    """

    spec: Spec
    source: Library
    network: Network
    images: ImageSet
    trace: Trace
    example: Tensor
    watch: Watch
    begin: Callable[[Calibration], Start] | None = None
    lent: Calibration | None = None
    _price: dict[tuple[object, ...], float] = field(default_factory=dict, init=False)  # seconds of what was used
    _inside: float = field(default=0.0, init=False)  # seconds just spent in parts of what is being built

    def prune(self) -> Pruned:
        """Select and update, once for all specs that differ only in what follows. Raises ReflowError."""
        pruned = self._shared(("pruned", *self.key()), self._prune, "selections")
        return dataclasses.replace(pruned, seconds=sum(self._price.values()))

    @lazy
    def start(self) -> Start:
        """What is pruned: the dense network, or in stages what the stage before has left. Raises ReflowError."""
        if self.begin is None:
            return Start(self.network)
        begun = time.perf_counter()
        start = self.begin(self.calibration)
        self._price["stages",] = start.seconds
        self._inside += time.perf_counter() - begun
        return start

    @property
    def base(self) -> Network:
        """The network that is pruned. Raises ReflowError."""
        return self.start.network

    def install(self, network: nn.Module, pruned: Pruned) -> None:
        """Put the pruned weights into a private copy of the base; channels that go whole are silent behind it."""
        install(network, pruned.weights)
        if self.spec.pattern == CHANNEL:
            silence_channels(network, pruned.masks, self.trace.sites)

    def _shared(self, key: tuple[object, ...], build: Callable[[], T], shelf: str = "facts") -> T:
        """What is built once for many specs; its own seconds and those of its parts are added to `_price`."""
        begun = time.perf_counter()

        def priced() -> tuple[T, dict[tuple[object, ...], float]]:
            price, inside = self._price, self._inside
            self._price, self._inside, start = {}, 0.0, time.perf_counter()
            value = build()
            own = time.perf_counter() - start - self._inside
            whole, self._price, self._inside = self._price | {key: own}, price, inside
            return value, whole

        shared: tuple[T, dict[tuple[object, ...], float]] = self.source.recall(key, priced, shelf)
        self._price |= shared[1]
        self._inside += time.perf_counter() - begun
        return shared[0]

    def _prune(self) -> Pruned:
        masks = choose(self.subject, self.spec.criterion, self.rules, self.scores)
        return Pruned(masks, updates[self.spec.update].function(self.subject, masks))

    def key(self) -> tuple[object, ...]:
        """All that masks and updated weights depend on."""
        staged = self.spec.stages == STAGED
        between = (self.fitted, *(getattr(self.spec, name) for name in READ_BETWEEN)) if staged else ()
        return self.network.digest, *(getattr(self.spec, name) for name in SELECTION), *between, *self._data_key()

    def _data_key(self) -> tuple[object, ...]:
        reads = criteria[self.spec.criterion].info.needs_data or updates[self.spec.update].info.needs_data
        if not (reads or (self.spec.stages == STAGED and repairs[self.spec.repair].info.needs_data)):
            return ()
        return self.images.digest, *(getattr(self.spec, name) for name in CALIBRATION)

    @lazy
    def fitted(self) -> tuple[str, int]:
        """What stands between two stages: the repair, and how many images it fits."""
        return repair_between(self.spec), len(fitted_between(self.spec, self.calibration).inputs)

    @lazy
    def kept_before(self) -> Masks:
        """What the stages before have kept (True), by layer; empty in the first."""
        if self.base is self.network:
            return {}
        return {name: weight != 0 for name, weight in prunable(self.base.module).items()}

    def scores(self) -> Scores:
        """The criterion's scores, shared by all sparsities, allocations and patterns."""
        key = ("scores", self.base.digest, self.spec.criterion, self.spec.seed, *self._data_key())
        return self._shared(key, lambda: score(self.subject, self.spec.criterion))

    @lazy
    def calibration(self) -> Calibration:
        """The calibration images of the spec."""
        drawn = self.lent or calibration(self.spec, self.network.info, self.images)
        return dataclasses.replace(drawn, learned=Memo(1)) if self.begin and not self.lent else drawn

    @lazy
    def subject(self) -> Subject:
        """What criteria and updates look at."""
        weights = prunable(self.base.module)
        return Subject(
            self.base.module, weights, self.spec.seed, self._samples, self._gradients, self.example, watch=self.watch
        )

    def _samples(self) -> Samples:
        if len(self.images.train) == 0:
            raise no_training_images(self.images)
        few = slice(0, MOST_SAMPLES)
        labels = self.calibration.labels
        return Samples(self.calibration.inputs[few], None if labels is None else labels[few])

    def _gradients(self) -> Tensor:
        def build() -> Tensor:
            samples, network = self._samples(), self.base.module
            return gradient_matrix(network, self.subject.weights, samples.inputs, samples.classes, self.watch)

        key = ("gradients", self.base.digest, self.spec.seed, *self._data_key())
        return self._shared(key, build, "gradients")

    @lazy
    def rules(self) -> Rules:
        """How much is pruned, of what, in which pattern."""
        ends = {"first": [self.trace.first], "classifier": [self.trace.classifier]}
        ends["both"] = ends["first"] + ends["classifier"]
        whole = ends["classifier"] if self.spec.pattern == CHANNEL else []  # its output channels are the classes
        excluded = frozenset(name for name in ends.get(self.spec.exclude, []) + whole if name is not None)
        named = by_layer(self.spec.layer_sparsity)
        budget = Budget(self.spec.sparsity, {name: named[name] for name in named.keys() - excluded})
        return Rules(self.spec.allocation, budget, self.spec.pattern, excluded, self.kept_before)

    def notes(self) -> Iterator[str]:
        """What the person should know about the selection."""
        info, unstructured = criteria[self.spec.criterion].info, self.spec.pattern == UNSTRUCTURED
        if info.comparison == "row" and unstructured and self.spec.allocation == "global":
            yield f"{info.title} compares weights only within one output, so every output loses the same share."
        if info.comparison == "row" and self.spec.pattern == CHANNEL and self.spec.allocation == "global":
            yield (
                f"{info.title} compares channels only within one layer, so every layer loses the same share of "
                "channels."
            )
        if earlier := earlier_stages(self.spec):
            yield (
                f"Pruned and repaired in stages, at {', '.join(map(whole_percent, earlier))} before. “Pruned” is the "
                "network after the last selection, before the repair."
            )
        reads = info.needs_data or updates[self.spec.update].info.needs_data
        if reads and (there := len(self.calibration.inputs)) > MOST_SAMPLES:
            yield f"The weights were selected on the first {MOST_SAMPLES} of {there} calibration images."
        if elsewhere := unreached(self.network.module):
            share = sum(elsewhere.values()) / sum(each.numel() for each in self.network.module.parameters())
            yield (
                f"{whole_percent(share)} of the parameters are weights outside convolution and linear layers, "
                f"such as {next(iter(elsewhere))}. They stay dense and do not count toward the sparsity."
            )
        if self.spec.pattern in N_OF_M:
            weights, group = prunable(self.network.module), parse(self.spec.pattern)[1]
            if odd := [name for name, weight in weights.items() if not divisible(weight, group)]:
                yield (
                    f"Kept dense, because their number of input channels is not a multiple of {group}: "
                    f"{', '.join(odd)}."
                )


def unreached(network: nn.Module) -> dict[str, int]:
    """Numbers of weights by parameter name that no pruning reaches: matrices outside convolution and linear layers."""
    reached = {id(module.get_parameter("weight")) for module in network.modules() if isinstance(module, PRUNABLE)}
    return {
        name: parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.squeeze().ndim > 1 and id(parameter) not in reached
    }
