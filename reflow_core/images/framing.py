"""From a picture of any size to the pixels a network's transform starts from: resize, then a central window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reflow_core.networks.info import NetworkInfo

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


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
