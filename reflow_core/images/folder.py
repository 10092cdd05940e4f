"""Image folders and .npz files that a person brings."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reflow_core.errors import ReflowError
from reflow_core.images.classes import Match, match
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.machine import cores
from reflow_core.networks.info import NetworkInfo

T = TypeVar("T")
R = TypeVar("R")
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"}
TEST_NAMES = ("test", "val")
MOST_PIXELS = 1 << 26  # of one picture; what unpacks to more is taken for a bomb
MOST_BYTES = 1 << 29  # of decoded pixels a part; of more images a sample is drawn
LAYOUT = "expected train/CLASS/*.png and test/CLASS/*.png (or val/), or CLASS/*.png to be split"
Files = list[tuple[Path, int]]  # each picture with its class folder's number, -1 without


@dataclass(frozen=True, slots=True)
class Listed:
    """The pictures of one part of a folder by class folder, before any is opened."""

    files: Files
    classes: tuple[str, ...]


def image_folder(root: Path, info: NetworkInfo, name: str | None = None) -> ImageSet:
    """Images from root/train/CLASS/* and root/test/CLASS/* (or val/); or one of these or root/CLASS/*, split.

    Class folders are matched with the model's classes (see `classes.match`). Pictures without class folders are images
    without labels. Large folders are sampled, broken files skipped, and the notes say so. `name`: another than the
    folder's. Raises ReflowError for an empty folder and for classes that the model does not have.
    """
    tests = [root / name for name in TEST_NAMES if (root / name).is_dir()]
    evaluated = tests[0] if tests else root
    parts, notes = [_listed(root / "train"), _listed(evaluated)], []
    if not parts[0].files:
        parts = [Listed(half, parts[1].classes) for half in _halves(parts[1].files)]
        notes.append(
            f"There is no folder {'train' if tests else 'test'}/: half of the images of each class calibrates, the "
            "other half evaluates."
        )
    if not parts[1].files:
        raise ReflowError(f"{str(evaluated)!r} holds no readable image; {LAYOUT}.")
    matched = match(tuple(dict.fromkeys(parts[1].classes + parts[0].classes)), info, str(root))
    train, test = (_read(part, matched, info, notes) for part in parts)
    if len(test) == 0:
        raise ReflowError(f"{str(evaluated)!r} holds no readable image; {LAYOUT}.")
    if len(parts[1].classes) == 1:
        notes.append(f"All test images are of one class, {parts[1].classes[0]!r}: accuracy says little.")
    return ImageSet(name or _name(root), train, test, matched.classes, (*matched.notes, *notes))


def npz(path: Path, info: NetworkInfo) -> ImageSet:
    """Arrays test_images (N, H, W, 3) uint8, test_labels, and optionally train_images, train_labels, classes.

    Raises ReflowError where an array is missing or of another shape.
    """
    try:
        content = _arrays(path)
    except SystemError:  # NumPy parses headers with ast, which two threads of Python 3.11 must not do at once
        content = _arrays(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise ReflowError(f"{str(path)!r} is not a readable .npz file; save it again with numpy.savez.") from None
    names = tuple(str(name) for name in content.get("classes", info.classes))
    matched = match(names, info, str(path))
    train, test = (_from_arrays(content, part, matched, info) for part in ("train", "test"))
    return ImageSet(_name(path), train, test, matched.classes, matched.notes)


def framed(picture: Image.Image, info: NetworkInfo) -> NDArray[np.uint8]:
    """(H, W, 3) of `info.stored`: the shorter side resized as torchvision's `Resize` does, then cut from the middle.

    The window lies so that the central crop out of it is exactly torchvision's `CenterCrop` of the resized picture.
    """
    height, width = info.stored
    picture = picture.convert("RGB")
    short, wanted = min(picture.size), max(height, width)
    if short != wanted:
        size = (wanted * picture.width // short, wanted * picture.height // short)
        picture = picture.resize(size, RESAMPLING[info.interpolation])
    top, left = (
        max(0, min(there - kept, round((there - crop) / 2) - round((kept - crop) / 2)))
        for there, kept, crop in zip(picture.size[::-1], info.stored, info.size, strict=True)
    )
    return np.asarray(picture.crop((left, top, left + width, top + height)))


def _arrays(path: Path) -> dict[str, NDArray[np.uint8]]:
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def _from_arrays(content: dict[str, NDArray[np.uint8]], part: str, matched: Match, info: NetworkInfo) -> Images:
    pixels, labels = content.get(f"{part}_images"), content.get(f"{part}_labels")
    if pixels is None:
        return _images([], [], info)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ReflowError(f"{part}_images has shape {pixels.shape} of {pixels.dtype}; expected (N, H, W, 3) of uint8.")
    known = len(matched.order)
    if labels is not None and (
        labels.shape != (len(pixels),) or (len(labels) and not 0 <= labels.min() <= labels.max() < known)
    ):
        raise ReflowError(f"{part}_labels must be {len(pixels)} class numbers from 0 to {known - 1}.")
    numbers = [-1] * len(pixels) if labels is None else [matched.order[int(label)] for label in labels]
    return _images(_parallel(lambda array: framed(Image.fromarray(array), info), pixels), numbers, info)


def _listed(folder: Path) -> Listed:
    if not folder.is_dir():
        return Listed([], ())
    inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    by_class = {entry.name: pictures for entry in inside if (pictures := _pictures(entry))}
    files = [(file, number) for number, some in enumerate(by_class.values()) for file in some]
    return Listed(files or [(file, -1) for file in _pictures(folder)], tuple(by_class))


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def _halves(files: Files) -> tuple[Files, Files]:
    """The same share of each class in both; drawn once for all."""
    order = stratified([number for _, number in files])
    middle = len(order) // 2
    return [files[place] for place in sorted(order[:middle])], [files[place] for place in sorted(order[middle:])]


def stratified(classes: Sequence[int]) -> list[int]:
    """All positions in a seeded order of which every prefix holds the same share of each class."""
    generator = np.random.default_rng(0)
    classes_of = np.asarray(classes)
    place = np.empty(len(classes_of))
    for number in np.unique(classes_of):
        of_class = np.flatnonzero(classes_of == number)
        place[of_class] = (generator.permutation(len(of_class)) + generator.random()) / len(of_class)
    return [int(position) for position in place.argsort(kind="stable")]


def _read(part: Listed, matched: Match, info: NetworkInfo, notes: list[str]) -> Images:
    height, width = info.stored
    most = max(1, MOST_BYTES // (3 * height * width))
    files = part.files
    if len(files) > most:
        files = [files[place] for place in sorted(stratified([number for _, number in files])[:most])]
        notes.append(f"{most} of {len(part.files)} images were drawn, the same share of each class.")
    decoded = _parallel(lambda file: _decode(file[0], info), files)
    broken = [file.name for (file, _), pixels in zip(files, decoded, strict=True) if pixels is None]
    if broken:
        notes.append(f"{len(broken)} broken image(s) skipped: {', '.join(broken[:3])}.")
    order = {name: matched.order[place] for place, name in enumerate(matched.given)}
    numbers = [-1 if number < 0 else order[part.classes[number]] for _, number in files]
    kept = [(pixels, number) for pixels, number in zip(decoded, numbers, strict=True) if pixels is not None]
    return _images([pixels for pixels, _ in kept], [number for _, number in kept], info)


def _decode(file: Path, info: NetworkInfo) -> NDArray[np.uint8] | None:
    try:
        with Image.open(file) as picture:
            return framed(picture, info) if picture.width * picture.height <= MOST_PIXELS else None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(cores()) as threads:
        return list(threads.map(function, items))


def _images(pixels: Iterable[NDArray[np.uint8]], labels: Sequence[int], info: NetworkInfo) -> Images:
    arrays = list(pixels)
    stacked = np.stack(arrays) if arrays else np.zeros((0, *info.stored, 3), np.uint8)
    known = None if labels and labels[0] < 0 else torch.tensor(labels, dtype=torch.int64)
    return Images(torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(), known)


def _name(path: Path) -> str:
    return f"{path.name}:{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
