"""torchvision, also beside a CPU-only torch whose compiled operators the wheel cannot load."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_fragments: list[torch.library.Library] = []  # the definitions live as long as their library object


@functools.cache
def torchvision() -> ModuleType:
    """The torchvision package. Where its C++ operators do not load, their two schemas are defined first.

    The defining happens only after the operators were seen not to load: where they do, a second definition would itself
    be an error.
    """
    if "torchvision" not in sys.modules and not operators_load():
        library = torch.library.Library("torchvision", "DEF")
        library.define(f"nms{_SCHEMA}")
        library.define(f"qnms{_SCHEMA}")
        _fragments.append(library)
    return importlib.import_module("torchvision")


def operators_load() -> bool:
    """Whether its library of operators does, loaded as torchvision itself loads it when it is imported."""
    package = importlib.util.find_spec("torchvision")
    for folder in (package and package.submodule_search_locations) or ():
        file = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_C")
        if file is not None and file.origin is not None:
            try:
                torch.ops.load_library(file.origin)
            except (ImportError, OSError):
                return False
            return True
    return False
