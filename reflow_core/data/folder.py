"""Image folders and .npz files that a person brings."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from reflow_core.data.images import Images, ImageSet
from reflow_core.errors import ReflowError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"}
TEST_NAMES = ("test", "val")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One part of a folder: what could be read, the classes found, and the files that could not be read."""

    images: Images
    classes: tuple[str, ...]
    broken: tuple[str, ...]


def image_folder(root: Path, size: tuple[int, int], expected: tuple[str, ...]) -> ImageSet:
    """Images from root/train/CLASS/* and root/test/CLASS/* (or val/), resized to `size` (H, W).

    `expected`: the model's class names; folders named so keep the model's order. Pictures right under test/, without
    class folders, are images without labels. Broken files are skipped and counted in the notes. Raises ReflowError
    for an empty folder and for classes that the model does not have.
    """
    tests = [root / name for name in TEST_NAMES if (root / name).is_dir()]
    if not tests:
        raise ReflowError(
            f"{str(root)!r} has no folder test/ (or val/); expected test/CLASS/*.png and train/CLASS/*.png."
        )
    test, train = _read(tests[0], size, expected), _read(root / "train", size, expected)
    if len(test.images) == 0:
        raise ReflowError(f"{str(tests[0])!r} holds no readable image; expected CLASS/*.png inside it.")
    broken = test.broken + train.broken
    notes = [f"{len(broken)} broken image(s) skipped: {', '.join(broken[:3])}."] if broken else []
    if len(test.classes) == 1:
        notes.append(f"All test images are of one class, {test.classes[0]!r}: accuracy says little.")
    return ImageSet(_name(root), train.images, test.images, expected, tuple(notes))


def npz(path: Path, size: tuple[int, int], expected: tuple[str, ...]) -> ImageSet:
    """Arrays test_images (N, H, W, 3) uint8, test_labels, and optionally train_images, train_labels, classes.

    Raises ReflowError where an array is missing or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise ReflowError(f"{str(path)!r} is not a readable .npz file; save it again with numpy.savez.") from None
    names = [str(name) for name in content.get("classes", expected)]
    order = _order(tuple(names), expected, str(path))
    parts = [_from_arrays(content, part, size, order) for part in ("train", "test")]
    return ImageSet(_name(path), parts[0], parts[1], expected)


def _from_arrays(content: dict[str, NDArray[np.uint8]], part: str, size: tuple[int, int], order: list[int]) -> Images:
    pixels, labels = content.get(f"{part}_images"), content.get(f"{part}_labels")
    if pixels is None:
        return _empty(size)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ReflowError(f"{part}_images has shape {pixels.shape} of {pixels.dtype}; expected (N, H, W, 3) of uint8.")
    resized = resize(torch.from_numpy(pixels).permute(0, 3, 1, 2), size)
    if labels is None:
        return Images(resized, None)
    if labels.shape != (len(pixels),) or (len(labels) and not 0 <= labels.min() <= labels.max() < len(order)):
        raise ReflowError(f"{part}_labels must be {len(pixels)} class numbers from 0 to {len(order) - 1}.")
    return Images(resized, torch.tensor(order)[torch.from_numpy(labels.astype(np.int64))])


def _read(folder: Path, size: tuple[int, int], expected: tuple[str, ...]) -> Loaded:
    if not folder.is_dir():
        return Loaded(_empty(size), (), ())
    found = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    order = _order(found, expected, str(folder))
    pictures: list[tuple[Path, int]] = [
        (file, order[number]) for number, name in enumerate(found) for file in _files(folder / name)
    ] or [(file, -1) for file in _files(folder)]
    pixels, labels, broken = [], [], []
    for file, label in pictures:
        picture = _decode(file, size)
        if picture is None:
            broken.append(file.name)
            continue
        pixels.append(picture)
        labels.append(label)
    if not pixels:
        return Loaded(_empty(size), found, tuple(broken))
    known = torch.tensor(labels) if labels[0] >= 0 else None
    return Loaded(Images(torch.stack(pixels), known), found, tuple(broken))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def _decode(file: Path, size: tuple[int, int]) -> Tensor | None:
    try:
        with Image.open(file) as picture:
            array = np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return resize(torch.from_numpy(array.copy()).permute(2, 0, 1)[None], size)[0]


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (N, 3, h, w) -> uint8 (N, 3, H, W), bilinear with antialiasing; unchanged where the size fits."""
    if tuple(pixels.shape[2:]) == size:
        return pixels.contiguous()
    scaled = F.interpolate(pixels.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _order(found: tuple[str, ...], expected: tuple[str, ...], place: str) -> list[int]:
    """The model's class index of each class found: by name, else by position where the numbers agree."""
    lowered = [name.lower() for name in expected]
    if all(name.lower() in lowered for name in found):
        return [lowered.index(name.lower()) for name in found]
    if len(found) == len(expected):
        return list(range(len(found)))
    strange = [name for name in found if name.lower() not in lowered]
    raise ReflowError(
        f"{place!r} has classes the model does not know: {', '.join(strange[:3])}; it knows {', '.join(expected[:10])}."
    )


def _empty(size: tuple[int, int]) -> Images:
    return Images(torch.zeros(0, 3, *size, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))


def _name(path: Path) -> str:
    return f"{path.name}:{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
