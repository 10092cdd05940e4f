"""Which fields of a spec are read in a combination, what each offers, and a spec with the others at their defaults."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from reflow_core.diagnosis.stages import SCHEDULE, stages_before
from reflow_core.images.corruptions import CLEAN, SEVERITIES, corruptions, parsed
from reflow_core.numbers import percent
from reflow_core.pruning.allocations import allocations
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.patterns import N_OF_M, UNSTRUCTURED
from reflow_core.pruning.updates import updates
from reflow_core.registry import Registry
from reflow_core.repairs import repairs
from reflow_core.spec import ABOUT, CALIBRATION, DEFAULTS, Spec, by_layer

READ_BY_SOME = ("statistics", "calibration_batch", "epochs")
BY_HAND = "custom"  # the allocation that gives each layer its own sparsity
BUDGET = ("sparsity", "allocation", "layer_sparsity")
METHODS: dict[str, Registry[Any, Any]] = {
    "criterion": criteria, "update": updates, "allocation": allocations, "repair": repairs
}  # fmt: skip


def offered(name: str) -> tuple[str, ...]:
    """The values that a field can take; empty for a number, and for a name of a network or an image set."""
    if name in METHODS:
        return METHODS[name].names()
    if name == "corruption":
        return (CLEAN, *(f"{kind}:{severity}" for kind in corruptions.names() for severity in SEVERITIES))
    return ABOUT[name].choices


def unused_fields(spec: Spec, reads: Collection[str] = (), ignores: Collection[str] = ()) -> dict[str, str]:
    """The fields of a spec that nothing reads, and why. Raises ReflowError for a name that is not registered.

    `reads`: fields that are read besides by whoever asks. `ignores`: fields that whoever asks does not read.
    """
    spec = spec.replace(**{name: DEFAULTS[name] for name in ignores})
    allocation, repair = allocations[spec.allocation].info, repairs[spec.repair].info
    if spec.corruption != CLEAN:
        parsed(spec.corruption)
    criterion, update = criteria[spec.criterion].info, updates[spec.update].info
    unused: dict[str, str] = {}
    if spec.statistics == "population":
        unused["calibration_batch"] = "'population' statistics do not depend on the batch"
    for name in READ_BY_SOME:
        if name not in repair.reads:
            unused[name] = f"repair {repair.name!r} does not use it"
    unused["quantize_order"] = "only quantization uses it"
    if "layer_sparsity" not in allocation.reads:
        unused["layer_sparsity"] = f"allocation {allocation.name!r} does not use it"
    if spec.pattern in N_OF_M:
        unused |= dict.fromkeys(BUDGET, f"the pattern {spec.pattern} fixes how many weights each layer keeps")
    if why := _one_shot(spec):
        unused["stages"] = why
    if not (repair.needs_data or criterion.needs_data or update.needs_data):
        unused |= dict.fromkeys(CALIBRATION, f"{repair.name!r} and {criterion.name!r} use no calibration images")
    read = {name: why for name, why in unused.items() if name not in reads}
    return read | dict.fromkeys(ignores, "nothing uses it here")


def _one_shot(spec: Spec) -> str:
    """Why this spec is pruned in one stage whatever it says; "" where its `stages` decide."""
    if spec.pattern != UNSTRUCTURED or spec.allocation == BY_HAND:
        return "only a sparsity of single weights over the whole network is reached in stages"
    if spec.repair == "none":
        return "without a repair nothing changes between two stages"
    return "" if stages_before(spec.sparsity) else f"the first stage prunes {percent(SCHEDULE[0])}"


def normalize(
    spec: Spec, reads: Collection[str] = (), ignores: Collection[str] = (), **changes: str | float | int
) -> Spec:
    """A spec with some fields changed and those that nothing reads at their defaults. Raises ReflowError."""
    spec = spec.replace(**changes)
    return spec.replace(**{name: DEFAULTS[name] for name in unused_fields(spec, reads, ignores)})


def set_aside(spec: Spec, reads: Collection[str] = (), ignores: Collection[str] = ()) -> tuple[str, ...]:
    """A sentence for each value that `normalize` sets aside. Raises ReflowError."""
    return tuple(
        f"{name}={value} is ignored: {why}."
        for name, why in unused_fields(spec, reads, ignores).items()
        if (value := getattr(spec, name)) != DEFAULTS[name]
    )


def sparsity_fixed(spec: Spec) -> bool:
    """Whether a pattern fixes the sparsity. Raises ReflowError."""
    return "sparsity" in unused_fields(spec)


def is_total(spec: Spec) -> bool:
    """Whether the spec's sparsity is the one that all weights together reach. Raises ReflowError."""
    return spec.allocation != BY_HAND and not sparsity_fixed(spec)


def scalable(spec: Spec, layers: Iterable[str], reached: float) -> Spec:
    """The spec that a slider of the total sparsity moves: where sparsities by layer are given, they are scaled.

    `layers`: the names of the network's weight layers. `reached`: the sparsity (fraction) of all weights together.
    Raises ReflowError.
    """
    if is_total(spec) or sparsity_fixed(spec):
        return spec
    named = by_layer(spec.layer_sparsity)
    shares = {name: named.get(name, spec.sparsity) for name in layers}
    return normalize(spec, allocation="scaled", sparsity=round(reached, 4), layer_sparsity=as_text(shares))


def as_text(shares: Mapping[str, float]) -> str:
    """Sparsities by layer (fractions) as the spec's `layer_sparsity`; layers without any are left out."""
    return ",".join(f"{name}:{share:g}" for name, share in shares.items() if share > 0)
