"""Layer by layer: what of the dense network's signal is left in a pruned one, and what the layer still knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from reflow_core.batches import Batches, gather
from reflow_core.numbers import finite
from reflow_core.signal.copies import clone_on, device_of
from reflow_core.signal.probes import Signal, signals_of
from reflow_core.signal.similarity import Similarity, cka, cosine
from reflow_core.signal.trace import Trace, trace
from reflow_core.watch import Watch, ignore

DEAD_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """One layer of a network beside the same layer of the dense one.

    `weights`: the weight layer whose output it receives, None where something lies between. `variance_ratio`:
    Σ_c Var / Σ_c Var_dense; `median_channel_ratio`: over channels that live in dense. `dead_channels`: those whose
    variance is under 1e-12. `cka`, `cosine`: similarity to dense on each image's mean over positions (Kornblith et al.,
    arXiv 1905.00414), 1 is alike. `eps_floor`: mean of σ²/(σ²+ε), the share of unit variance that a norm can restore.
    None where a value is not defined.
    """

    name: str
    kind: str
    weights: str | None
    channels: int
    variance_ratio: float | None
    median_channel_ratio: float | None
    dead_channels: tuple[int, ...]
    cka: float | None
    cosine: float | None
    eps_floor: float | None


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """One measured layer: the signal that leaves it in the dense network and in others, by variant.

    `kind`: the module's class. `weights`: the weight layer whose output it receives, `sparsity` that layer's own
    (fraction). `variance`: by variant, per channel (C,), population variance of the output over images and positions.
    `cka`, `cosine`: similarity to dense by variant on the sketch. `eps_floor`: by variant, mean over channels of
    σ²/(σ²+ε), the share of unit variance a norm can restore; None where the layer is no norm.
    """

    name: str
    kind: str
    weights: str | None
    sparsity: float | None
    variance: Mapping[str, NDArray[np.float64]]
    cka: Mapping[str, float | None]
    cosine: Mapping[str, float | None]
    eps_floor: Mapping[str, float | None]

    def variance_ratio(self, variant: str) -> float | None:
        """Σ_c Var_variant / Σ_c Var_dense; None where the variant is missing or the dense layer is constant."""
        total = float(self.variance["dense"].sum())
        if variant not in self.variance or not total > DEAD_VARIANCE:
            return None
        return float(self.variance[variant].sum()) / total

    def channel_ratios(self, variant: str) -> NDArray[np.float64]:
        """Var_variant / Var_dense per channel (C,); NaN where the dense channel is dead (variance under 1e-12)."""
        dense = self.variance["dense"]
        alive = dense >= DEAD_VARIANCE
        return np.where(alive, self.variance[variant] / np.where(alive, dense, 1), np.nan)

    def median_ratio(self, variant: str) -> float | None:
        """Median over living channels of the per-channel ratio."""
        if variant not in self.variance:
            return None
        ratios = self.channel_ratios(variant)
        return None if np.isnan(ratios).all() else float(np.nanmedian(ratios))

    def dead_channels(self, variant: str) -> list[int]:
        """Channels whose variance is under 1e-12."""
        return [int(channel) for channel in np.flatnonzero(self.variance[variant] < DEAD_VARIANCE)]

    def statistics(self, variant: str) -> LayerStatistics:
        """One variant's flat row."""
        return LayerStatistics(
            name=self.name,
            kind=self.kind,
            weights=self.weights,
            channels=len(self.variance["dense"]),
            variance_ratio=finite(self.variance_ratio(variant)),
            median_channel_ratio=finite(self.median_ratio(variant)),
            dead_channels=tuple(self.dead_channels(variant)),
            cka=finite(self.cka.get(variant)),
            cosine=finite(self.cosine.get(variant)),
            eps_floor=finite(self.eps_floor.get(variant)),
        )


def layer_statistics(
    dense: nn.Module, pruned: nn.Module, batches: Batches, watch: Watch = ignore
) -> list[LayerStatistics]:
    """Compare what leaves each norm (without norms: each convolution and linear layer) of two networks.

    Args:
        dense: The network before pruning, of the same modules as `pruned`. Neither is changed.
        pruned: The network to compare with it.
        batches: Images as the networks read them: tensors (N, C, H, W), (images, labels), or dicts with
            `pixel_values`; 128 to 256 images are enough.
        watch: Called at every layer; may raise `Cancelled`.

    Returns:
        One row a layer in the order of execution, see `LayerStatistics`. Layers that run never, or more than once, are
        left out. A ratio near 1 after REFLOW is true by construction; similarity to dense is evidence.

    Raises:
        ReflowError: Where `batches` hold no images.

    Example:
        >>> import copy, torch, reflow_core as rc
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4)
        >>> dense = nn.Sequential(*layers)
        >>> images = torch.randn(32, 3, 8, 8)
        >>> _ = rc.reflow(dense, [images])
        >>> pruned = copy.deepcopy(dense)
        >>> _ = rc.prune(pruned, sparsity=0.8)
        >>> rows = rc.layer_statistics(dense, pruned, [images])
        >>> [row.name for row in rows], rows[-1].variance_ratio < 0.7
        (['1', '4'], True)
    """
    inputs = gather(batches).inputs
    plan = trace(dense, inputs[:1])
    signals = {
        variant: signals_of(clone_on(network, device_of(network)).eval(), plan, inputs, watch, variant)
        for variant, network in (("dense", dense), ("pruned", pruned))
    }
    return [layer.statistics("pruned") for layer in compared(plan, signals, {})]


def compared(
    trace: Trace, signals: Mapping[str, Mapping[str, Signal]], sparsity: Mapping[str, float]
) -> tuple[Layer, ...]:
    """One row a measured site, in the order of execution.

    `signals`: by variant, "dense" among them, and by site. `sparsity`: of each weight layer, as far as known.
    """
    alike = {measure: similarity(measure, signals) for measure in (cka, cosine)}
    return tuple(
        Layer(
            name=site.name,
            kind=site.kind,
            weights=site.weights,
            sparsity=sparsity.get(site.weights) if site.weights else None,
            variance={variant: own[site.name].variance for variant, own in signals.items()},
            cka={variant: finite(own[site.name]) for variant, own in alike[cka].items()},
            cosine={variant: finite(own[site.name]) for variant, own in alike[cosine].items()},
            eps_floor={variant: own[site.name].eps_floor for variant, own in signals.items()},
        )
        for site in trace.sites
    )


def similarity(measure: Similarity, signals: Mapping[str, Mapping[str, Signal]]) -> dict[str, dict[str, float]]:
    """Similarity of each variant's sketches to dense's, by variant and site; sites of one width at once."""
    dense = signals["dense"]
    widths: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, signal in dense.items():
        widths[signal.sketch.shape].append(name)
    alike: dict[str, dict[str, float]] = {variant: {} for variant in signals if variant != "dense"}
    for names in widths.values():
        wanted = np.stack([dense[name].sketch for name in names])
        for variant, values in alike.items():
            measured = measure(np.stack([signals[variant][name].sketch for name in names]), wanted)
            values |= zip(names, measured.tolist(), strict=True)
    return alike
