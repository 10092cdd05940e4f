"""What the lab knows of a network before it is built: how it saw its images, where its weights are."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reflow_core.signal.layers import FROZEN, PRUNABLE, is_norm
from reflow_core.signal.trace import trace

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Download:
    """Public weights: `sha256` holds the first digits of the file's hash, `size` its bytes (approximately).

    `file`: the name to keep it under, "" for the URL's.
    """

    url: str
    sha256: str
    size: int
    file: str = ""

    @property
    def filename(self) -> str:
        """The file's name under which torch hub keeps it."""
        return self.file or self.url.rsplit("/", 1)[1]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a network is made of: `layers` that can be pruned, `norms` by kind, multiply-adds an image if known."""

    parameters: int
    layers: int
    norms: Mapping[str, int]
    multiply_adds: int | None = None

    @property
    def reflow_applies(self) -> bool:
        """Whether there is a BatchNorm whose statistics can be re-estimated."""
        return any("BatchNorm" in kind and not kind.startswith(FROZEN) for kind in self.norms)


def facts_of(network: nn.Module, size: tuple[int, int] | None = None) -> Facts:
    """Count what a network is made of; with the `size` (H, W) of its images, its multiply-adds too."""
    kinds = Counter(type(module).__name__ for module in network.modules() if is_norm(module))
    return Facts(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        layers=sum(isinstance(module, PRUNABLE) for module in network.modules()),
        norms=dict(kinds),
        multiply_adds=None if size is None else trace(network, torch.zeros(1, 3, *size)).multiply_adds,
    )


@dataclass(frozen=True, slots=True)
class OwnView:
    """A person's own augmentation, uint8 (3, h, w) -> floats (3, H, W) in 0 to 1; `source` stands for its code."""

    function: Callable[[Tensor], Tensor]
    source: str


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """One named network.

    `build`: a number of classes -> the network. `data`: the image set it was trained on. `train_view`: the augmentation
    that training saw, "" where nobody said, "custom" where it is `own_view`. `mean`, `std`: the normalization after the
    view, per channel of pixels in 0 to 1. `size`: (H, W) of its input. `resize`: the shorter side before the central
    crop of `size`, None for the crop's own. `download`: None where the weights ship in assets/networks. `collapse_at`:
    a sparsity (fraction) at which magnitude pruning has brought it down, a good place to start looking. `packaged`:
    where an installed package keeps the weights; raises ReflowError where it is not installed.
    """

    name: str
    title: str
    build: Callable[[int], nn.Module]
    data: str
    train_view: str
    mean: Triple
    std: Triple
    size: tuple[int, int]
    classes: tuple[str, ...]
    paper: str
    collapse_at: float
    download: Download | None = None
    packaged: Callable[[], Path] | None = None
    resize: int | None = None
    interpolation: str = "bilinear"
    facts: Facts | None = None
    own_view: OwnView | None = None

    @property
    def stored(self) -> tuple[int, int]:
        """(H, W) in which images are kept: what the central crop is cut from, so that other views can be too."""
        return self.size if self.resize is None else (self.resize, self.resize)

    def without_code(self) -> NetworkInfo:
        """The same without functions, to be sent to another process that reads images for it."""
        return dataclasses.replace(self, build=_unbuilt, packaged=None, facts=None, own_view=None)

    def seeing(self) -> str:
        """All that decides what the network sees of an image, as text for a hash."""
        source = "" if self.own_view is None else self.own_view.source
        return f"{self.mean}{self.std}{self.size}{self.resize}{self.interpolation}{self.train_view}{source}"


def _unbuilt(classes: int) -> nn.Module:
    raise NotImplementedError("a network without code")
