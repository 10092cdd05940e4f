"""Channels that are pruned whole put out exactly 0, so that a cut network and one with zeros are the same network.

With a filter of zeros alone they would not: its bias stays, and a BatchNorm behind it still puts out γ·(0 − μ)/σ + β, a
constant that no cut network has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from reflow_core.pruning.masks import Masks
from reflow_core.signal.layers import has_affine
from reflow_core.signal.trace import Site


def silence_channels(network: nn.Module, masks: Masks, sites: Iterable[Site]) -> None:
    """Set the bias of every output channel that a mask removes whole, and scale and shift of its norm, to 0, in place.

    The norm is the one that the layer's very output reaches, where there is one. REFLOW, which re-estimates statistics
    only, leaves the channel silent, and so does fine-tuning; a repair that shifts means may give it a constant again.
    `masks` (True: kept) by layer name, (C_out, …). Transposed convolutions, whose outputs are not the mask's rows, are
    left alone.
    """
    norms = {site.weights: site.name for site in sites if site.weights not in (None, site.name)}
    with torch.no_grad():
        for name, mask in masks.items():
            gone = ~mask.flatten(1).any(1)
            if gone.any() and not isinstance(layer := network.get_submodule(name), _ConvTransposeNd):
                norm = network.get_submodule(norms[name]) if name in norms else None
                for parameter in _shifting(layer, norm, len(gone)):
                    parameter[gone] = 0


def _shifting(layer: nn.Module, norm: nn.Module | None, channels: int) -> Iterator[Tensor]:
    """What could make a channel with a filter of zeros put out something else."""
    if isinstance(bias := getattr(layer, "bias", None), Tensor):
        yield bias
    if norm is not None and has_affine(norm):  # a frozen norm keeps them as buffers
        yield from (own for own in (norm.weight, norm.bias) if isinstance(own, Tensor) and len(own) == channels)
