"""torchvision, also beside a CPU-only torch whose compiled operators the wheel cannot load."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_fragments: list[torch.library.Library] = []  # the definitions live as long as their library object


@functools.cache
def torchvision() -> ModuleType:
    """The torchvision package. Where its C++ operators do not load, their two schemas are defined first.

    The defining happens only after a plain import was seen to fail in a process of its own: where the operators do
    load, a second definition would itself be an error.
    """
    if "torchvision" not in sys.modules and not _imports_plainly():
        library = torch.library.Library("torchvision", "DEF")
        library.define(f"nms{_SCHEMA}")
        library.define(f"qnms{_SCHEMA}")
        _fragments.append(library)
    return importlib.import_module("torchvision")


def _imports_plainly() -> bool:
    attempt = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    return attempt.returncode == 0
