"""NumPy's .npz files that a person brings: only the arrays asked for are read, after a look at their headers."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from reflow_core import numbers
from reflow_core.errors import ReflowError
from reflow_core.images.classes import Match, match
from reflow_core.images.folder import MOST_BYTES, framed, is_sound, parallel, sampled, stacked
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.networks.info import NetworkInfo

MOST_ARRAY = 1 << 29  # bytes of one array
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
Array = NDArray[Any]


def npz(path: Path, info: NetworkInfo, place: str, name: str = "", most: int = MOST_BYTES) -> ImageSet:
    """Arrays test_images (N, H, W, 3) uint8, test_labels, and optionally train_images, train_labels, classes.

    `place`: what its owner calls the file; `name`: the set's own name where it is another. `most`: bytes of pixels that
    are kept a part; of more images a sample is drawn. Raises ReflowError where an array is missing, too large or of
    another shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _image_set(archive, info, place, name or place, most)
    except (ReflowError, MemoryError):
        raise
    except Exception:  # the file decides what goes wrong: NumPy's and zlib's readers raise errors of many kinds
        raise ReflowError(f"{place!r} is not a readable .npz file; save it again with numpy.savez.") from None


def _image_set(archive: zipfile.ZipFile, info: NetworkInfo, place: str, name: str, most: int) -> ImageSet:
    notes: list[str] = []
    matched = match(_classes(_array(archive, "classes"), info), info, place)
    train, test = (_part(archive, part, matched, info, most, notes) for part in ("train", "test"))
    return ImageSet(name, train, test, matched.classes, (*matched.notes, *notes))


def _array(archive: zipfile.ZipFile, key: str) -> Array | None:
    """An array by name, None where there is none. Raises ReflowError for one larger than MOST_ARRAY."""
    if (entry := f"{key}.npy") not in archive.namelist():
        return None
    with archive.open(entry) as file:
        shape, _, dtype = HEADERS[npy.read_magic(file)](file)
    if (size := math.prod(shape) * dtype.itemsize) > MOST_ARRAY:
        raise ReflowError(
            f"{key} takes {numbers.size(size)}; use at most {numbers.size(MOST_ARRAY)}, for example fewer images."
        )
    with archive.open(entry) as file:
        array: Array = npy.read_array(file, allow_pickle=False)
    return array


def _classes(array: Array | None, info: NetworkInfo) -> tuple[str, ...]:
    if array is None:
        return info.classes
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise ReflowError(f"classes has shape {array.shape} of {array.dtype}; expected one row of names.")
    return tuple(map(str, array))


def _part(
    archive: zipfile.ZipFile, part: str, matched: Match, info: NetworkInfo, most: int, notes: list[str]
) -> Images:
    pixels, labels = (_array(archive, f"{part}_{what}") for what in ("images", "labels"))
    if pixels is None:
        return stacked([], [], info)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ReflowError(f"{part}_images has shape {pixels.shape} of {pixels.dtype}; expected (N, H, W, 3) of uint8.")
    if len(pixels) and not is_sound(pixels.shape[1:3]):
        raise ReflowError(
            f"{part}_images has pictures of {pixels.shape[2]}×{pixels.shape[1]} pixels; use an ordinary aspect ratio."
        )
    numbers = [-1] * len(pixels) if labels is None else _numbers(labels, len(pixels), part, matched)
    kept = sampled(numbers, info, most, notes)
    framing = parallel(lambda place: framed(Image.fromarray(pixels[place]), info), kept)
    return stacked(framing, [numbers[place] for place in kept], info)


def _numbers(labels: Array, count: int, part: str, matched: Match) -> list[int]:
    known = len(matched.order)
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or not all(0 <= label < known for label in labels):
        raise ReflowError(f"{part}_labels must be {count} class numbers from 0 to {known - 1}.")
    return [matched.order[int(label)] for label in labels]
