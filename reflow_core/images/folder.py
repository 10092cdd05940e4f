"""Trees of pictures that a person brings: a folder, or what an archive holds."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from reflow_core.errors import ReflowError
from reflow_core.images.classes import Match, match
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.machine import cores
from reflow_core.networks.info import NetworkInfo
from reflow_core.watch import Watch, ignore

T = TypeVar("T")
R = TypeVar("R")
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # none that Pillow hands to another program
TEST_NAMES = ("test", "val")
PARTS = ("train", *TEST_NAMES)
LEVELS = 3  # of a tree: part, class, picture
MOST_PIXELS = 50_000_000  # of one picture; what unpacks to more is taken for a bomb
MOST_IN_ALL = 1 << 32  # pixels of all pictures of a set
MOST_RATIO = 32  # of a picture's sides: a line resized to a network's height would fill the memory
MOST_BYTES = 1 << 29  # of decoded pixels a part; of more images a sample is drawn
LAYOUT = "expected train/CLASS/*.png and test/CLASS/*.png (or val/), or CLASS/*.png, which is split"
Opening = Callable[[], IO[bytes]]
Tree = Mapping[tuple[str, ...], Opening]  # pictures by their place, such as ("train", "cat", "1.png")


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that may be a picture, and the number of its class folder, -1 without."""

    name: str
    opening: Opening
    number: int


@dataclass(frozen=True, slots=True)
class Listed:
    """The pictures of one part of a tree by class folder, before any is opened."""

    files: list[Picture]
    classes: tuple[str, ...]


def image_set(
    tree: Tree, info: NetworkInfo, place: str, name: str = "", most: int = MOST_BYTES, watch: Watch = ignore
) -> ImageSet:
    """Images from a tree of pictures, whether in a folder or in an archive.

    The tree holds train/CLASS/* and test/CLASS/* (or val/); or one of these or CLASS/*, which is split.
    Class folders are matched with the model's classes (see `classes.match`). Pictures without class folders are images
    without labels. Many pictures are sampled, broken files skipped, and the notes say so. `place`: what its owner calls
    the tree; `name`: the set's own name where it is another. `most`: bytes of decoded pixels a part.
    `watch`: called for every picture.

    Raises ReflowError for a tree without pictures, for classes that the model does not have, and what `watch` does.
    """
    tests = [part for part in TEST_NAMES if any(parts[0] == part for parts in tree)]
    parts, notes = [_listed(_below(tree, "train")), _listed(_below(tree, tests[0]) if tests else tree)], []
    if not parts[0].files:
        parts = [Listed(half, parts[1].classes) for half in _halves(parts[1].files)]
        notes.append(
            f"There is no folder {'train' if tests else 'test'}/: half of the images of each class are used for "
            "calibration, the other half for evaluation."
        )
    if not parts[1].files:
        raise ReflowError(f"{place!r} has no readable image; {LAYOUT}.")
    matched = match(tuple(dict.fromkeys(parts[1].classes + parts[0].classes)), info, place)
    budget = _Budget()
    train, test = (_read(part, matched, info, notes, most, budget, watch) for part in parts)
    if len(test) == 0:
        raise ReflowError(f"{place!r} has no readable image; {LAYOUT}.")
    if len(parts[1].classes) == 1:
        notes.append(f"All test images belong to one class, {parts[1].classes[0]!r}: accuracy says little here.")
    return ImageSet(name or place, train, test, matched.classes, (*matched.notes, *notes))


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


def tree_of(folder: Path, levels: int = LEVELS) -> dict[tuple[str, ...], Opening]:
    """The pictures in a folder and, `levels` deep, below it, by their place."""
    tree: dict[tuple[str, ...], Opening] = {}
    if not folder.is_dir():
        return tree
    for entry in sorted(folder.iterdir()):
        if entry.suffix.lower() in SUFFIXES and entry.is_file():
            tree[(entry.name,)] = functools.partial(_opened, entry)
        elif levels > 1 and entry.is_dir() and not entry.is_symlink():
            tree |= {(entry.name, *parts): opening for parts, opening in tree_of(entry, levels - 1).items()}
    return tree


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _below(tree: Tree, folder: str) -> Tree:
    return {parts[1:]: opening for parts, opening in tree.items() if parts[0] == folder and len(parts) > 1}


def _listed(tree: Tree) -> Listed:
    """The pictures in class folders, or without any those beside them."""
    classes = tuple(sorted({parts[0] for parts in tree if len(parts) == 2}))
    numbers = {name: number for number, name in enumerate(classes)}
    deep = len(classes) > 0
    files = [
        Picture(parts[-1], opening, numbers[parts[0]] if deep else -1)
        for parts, opening in sorted(tree.items(), key=lambda item: item[0])
        if len(parts) == 1 + deep
    ]
    return Listed(files, classes)


def _halves(files: list[Picture]) -> tuple[list[Picture], list[Picture]]:
    """The same share of each class in both; drawn once for all."""
    order = stratified([file.number for file in files])
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


def sampled(numbers: Sequence[int], info: NetworkInfo, most: int, notes: list[str]) -> list[int]:
    """Which of the images of these class numbers to keep, in order, so that they take at most `most` bytes."""
    height, width = info.stored
    count = max(1, most // (3 * height * width))
    if len(numbers) <= count:
        return list(range(len(numbers)))
    notes.append(f"{count} of {len(numbers)} images were drawn, in the same proportion for each class.")
    return sorted(stratified(numbers)[:count])


def _read(
    part: Listed, matched: Match, info: NetworkInfo, notes: list[str], most: int, budget: _Budget, watch: Watch
) -> Images:
    files = [part.files[place] for place in sampled([file.number for file in part.files], info, most, notes)]
    decoded = parallel(lambda file: _decode(file, info, budget), files, watch)
    broken = [file.name for file, pixels in zip(files, decoded, strict=True) if pixels is None]
    if broken:
        notes.append(f"{len(broken)} broken image(s) skipped: {', '.join(broken[:3])}.")
    order = {name: matched.order[place] for place, name in enumerate(matched.given)}
    kept = [(pixels, file) for file, pixels in zip(files, decoded, strict=True) if pixels is not None]
    numbers = [-1 if file.number < 0 else order[part.classes[file.number]] for _, file in kept]
    return stacked([pixels for pixels, _ in kept], numbers, info)


class _Budget:
    """The pixels that all pictures of a set may have together. Raises ReflowError once they are spent."""

    def __init__(self) -> None:
        self._lock, self._left = threading.Lock(), MOST_IN_ALL

    def take(self, pixels: int) -> None:
        """Count one picture's."""
        with self._lock:
            self._left -= pixels
            if self._left < 0:
                raise ReflowError(
                    f"The images have more than {MOST_IN_ALL / 1e9:.1f} billion pixels; use fewer or smaller ones."
                )


def _decode(file: Picture, info: NetworkInfo, budget: _Budget) -> NDArray[np.uint8] | None:
    try:
        with file.opening() as content, Image.open(content, formats=FORMATS) as picture:
            if not is_sound(picture.size):
                return None
            budget.take(picture.width * picture.height)
            return framed(picture, info)
    except (ReflowError, MemoryError):
        raise
    except Exception:  # the file decides what goes wrong: Pillow's and zlib's readers raise errors of many kinds
        return None


def is_sound(size: tuple[int, int]) -> bool:
    """Whether a picture has a width and a height that a camera or a person gives it."""
    short, long = sorted(size)
    return short > 0 and long <= MOST_RATIO * short and short * long <= MOST_PIXELS


def parallel(function: Callable[[T], R], items: Sequence[T], watch: Watch = ignore) -> list[R]:
    """The function of each item, in order, by a thread a core. `watch` may end it, as the first error does."""
    results: list[R] = []
    threads = ThreadPoolExecutor(cores())
    try:
        for result in threads.map(function, items):
            results.append(result)
            watch("decode", len(results), len(items))
    finally:
        threads.shutdown(cancel_futures=True)
    return results


def stacked(pixels: Sequence[NDArray[np.uint8]], labels: Sequence[int], info: NetworkInfo) -> Images:
    """Pictures of equal size (H, W, 3) as images; a negative first label: without labels."""
    arrays = np.stack(pixels) if pixels else np.zeros((0, *info.stored, 3), np.uint8)
    known = None if labels and labels[0] < 0 else torch.tensor(labels, dtype=torch.int64)
    return Images(torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous(), known)


def name_of(path: Path) -> str:
    """A set's own name: its folder's, and what tells it from another folder of that name."""
    return f"{path.name}:{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
