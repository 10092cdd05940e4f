"""Batches as anybody has them: tensors, (images, labels) or dicts, from a list, a DataLoader or a generator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reflow_core.errors import ReflowError

IMAGES, LABELS = ("pixel_values", "images", "image"), ("labels", "label")
MOST, PIXELS = 192, 16 * 224 * 224  # images and pixels of a pass on a CPU: more are no faster, and take more memory
FORMS = "tensors (N, C, H, W), (images, labels), or dicts with 'pixel_values' (and 'labels')"
Batches = Iterable[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Gathered:
    """All images of some batches, (N, …), their labels (N,) if every batch had them, and the size of each batch."""

    inputs: Tensor
    labels: Tensor | None
    sizes: tuple[int, ...]


def gather(batches: Batches) -> Gathered:
    """Read batches once, whatever their form. A single tensor counts as one batch.

    Raises ReflowError for no batch at all, as a generator gives that was read before, and for anything else than FORMS.
    """
    pairs = [pair(batch) for batch in ([batches] if isinstance(batches, Tensor) else batches)]
    if not pairs:
        raise ReflowError("There is no batch: a generator can be read only once; pass a list or a DataLoader.")
    labels = [own for _, own in pairs if own is not None]
    return Gathered(
        torch.cat([images for images, _ in pairs]),
        torch.cat(labels) if len(labels) == len(pairs) else None,
        tuple(len(images) for images, _ in pairs),
    )


def at_once(images: Tensor, device: torch.device, most: int = MOST) -> int:
    """How many of such images (N, C, H, W) make a pass on a device, at most `most`."""
    if device.type != "cpu":
        return most
    return max(1, min(most, PIXELS // max(1, images[0, 0].numel())))


def pair(batch: Any) -> tuple[Tensor, Tensor | None]:
    """One batch as images and labels, None without. Raises ReflowError."""
    images, labels = batch, None
    if isinstance(batch, Mapping):
        images, labels = (next((batch[name] for name in names if name in batch), None) for names in (IMAGES, LABELS))
    elif isinstance(batch, tuple | list) and batch:
        images, labels = batch[0], batch[1] if len(batch) > 1 else None
    if not isinstance(images, Tensor) or images.ndim < 2:
        shape = f"a tensor {tuple(images.shape)}" if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise ReflowError(f"A batch contains {shape} as images; batches must be {FORMS}.")
    return images, labels if isinstance(labels, Tensor) else None
