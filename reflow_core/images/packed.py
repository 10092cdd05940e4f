"""An image set as one safetensors file, which is how a worker process hands over what it has decoded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from reflow_core.errors import ReflowError
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.networks.info import NetworkInfo


def pack(images: ImageSet, out: Path) -> None:
    """Write an image set to `out`."""
    tensors = {"train": images.train.pixels, "test": images.test.pixels}
    tensors |= {
        f"{name}_labels": part.labels
        for name, part in (("train", images.train), ("test", images.test))
        if part.labels is not None
    }
    words = json.dumps({"name": images.name, "classes": images.classes, "notes": images.notes})
    save_file(tensors, out, {"words": words})


def unpack(path: Path, info: NetworkInfo) -> ImageSet:
    """The image set in a file; its pixels stay mapped to the file, which may be deleted. Raises ReflowError.

    What it holds is checked, for it was made from what a stranger brought.
    """
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
        words = json.loads((file.metadata() or {})["words"])
    classes = tuple(map(str, words["classes"]))
    for part in ("train", "test"):
        pixels, labels = tensors[part], tensors.get(f"{part}_labels")
        fits = pixels.dtype == torch.uint8 and pixels.shape[1:] == (3, *info.stored)
        if labels is not None and len(labels):
            fits &= labels.shape == (len(pixels),) and 0 <= int(labels.min()) <= int(labels.max()) < len(classes)
        if not fits:
            raise ReflowError(f"{words['name']!r} was not read as images; save the file again.")
    train, test = (Images(tensors[part], tensors.get(f"{part}_labels")) for part in ("train", "test"))
    return ImageSet(str(words["name"]), train, test, classes, tuple(map(str, words["notes"])))
