"""An image set in memory: the one shape in which every data source arrives."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from reflow_core.errors import ReflowError


@dataclass(frozen=True)
class Images:
    """Images with or without labels.

    `pixels` is uint8 of shape (N, 3, H, W); `labels` int64 of shape (N,), or None where there are none.
    """

    pixels: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, which: slice | Tensor) -> Images:
        return Images(self.pixels[which], None if self.labels is None else self.labels[which])

    def take(self, count: int, seed: int) -> Images:
        """At most `count` images drawn without replacement, in a seeded order, so that any prefix is a fair sample."""
        return self[self.order(seed)[:count]]

    def order(self, seed: int) -> Tensor:
        """The seeded order (N,) in which images are drawn."""
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))

    def long_tailed(self, ratio: float) -> Tensor:
        """Which images (N,) to keep so that the last class is `ratio` times as rare as the first; 1: all.

        Class k of K, by index, keeps the share ratio^(−k/(K−1)) of its images, its first ones, at least one (Cao et
        al., arXiv 1906.07413, section 4.1). Raises ReflowError for images without labels.
        """
        if ratio == 1:
            return torch.arange(len(self))
        if self.labels is None:
            raise ReflowError("A long tail needs labeled images; leave out evaluation_tail.")
        kept = torch.zeros(len(self), dtype=torch.bool)
        there = self.labels.unique().tolist()
        for place, label in enumerate(there):
            own = (self.labels == label).nonzero().flatten()
            share = ratio ** (-place / max(1, len(there) - 1))
            kept[own[: max(1, round(share * len(own)))]] = True
        return kept.nonzero().flatten()

    def png(self, index: int) -> bytes:
        """One image as a PNG file, pixel for pixel."""
        buffer = io.BytesIO()
        Image.fromarray(self.pixels[index].permute(1, 2, 0).numpy()).save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True)
class ImageSet:
    """Training images (for calibration) and test images (for evaluation), kept strictly apart."""

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.test) == 0:
            raise ReflowError(f"The data {self.name!r} has no test image; put some under test/CLASS/.")
        object.__setattr__(self, "digest", digest(self))


def digest(images: ImageSet) -> str:
    """SHA-256 over pixels, labels and class names: the content, whatever its name or place."""
    state = hashlib.sha256("\0".join(images.classes).encode())
    for part in (images.train, images.test):
        state.update(str(tuple(part.pixels.shape)).encode())
        state.update(part.pixels.contiguous().numpy().data)
        state.update(b"" if part.labels is None else part.labels.contiguous().numpy().data)
    return state.hexdigest()
