"""A network of the person's own: code on this machine, named PACKAGE.MODULE:FUNCTION or FILE.py:FUNCTION."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from reflow_core.errors import ReflowError
from reflow_core.networks.hub import is_timm
from reflow_core.networks.info import IMAGENET_MEAN, IMAGENET_STD, NetworkInfo, OwnView

SEEING = ("classes", "size", "resize", "mean", "std", "interpolation", "train_view")


def is_own(name: str) -> bool:
    """Whether a name is that of a person's own code."""
    return ":" in name and not is_timm(name)


def own(name: str, file: Path | None = None) -> NetworkInfo:
    """Import the code and describe the network. Raises ReflowError where that fails.

    `file`: where FILE.py lies. Of a file, FUNCTION is one that the file defines, not one that it imports. It takes no
    argument, or the number of classes, and returns a torch.nn.Module, with its weights loaded or with a checkpoint to
    be named behind "@". How the network sees its images stands in a dict REFLOW beside it, with any of `classes` (names
    or a number), `size` (H, W), `resize`, `mean`, `std`, `interpolation`, `train_view` (a view's name, or a function of
    one picture, uint8 (3, h, w) -> floats (3, H, W) in 0 to 1, such as a transform of torchvision); without it
    ImageNet's normalization at 224x224 is taken, and the training view counts as unknown.
    """
    place, _, function = name.rpartition(":")
    module = _imported(place) if file is None else _executed(place, file)
    build = getattr(module, function, None)
    if not callable(build):
        raise ReflowError(f"{place!r} has no function {function!r}; name one that returns a torch.nn.Module.")
    if file is not None and getattr(build, "__module__", None) != module.__name__:
        raise ReflowError(f"{function!r} is imported in {place!r}, not defined there; name a function that it defines.")
    return _described(name, build, getattr(module, "REFLOW", {}), module.__name__)


def _imported(place: str) -> ModuleType:
    """A module that Python finds, in the working folder too."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    with _told(f"Importing {place!r}"):
        return importlib.import_module(place)


def _executed(place: str, path: Path) -> ModuleType:
    """The module of a file, which a person calls `place`."""
    if not path.is_file():
        raise ReflowError(f"There is no file {place!r}; check the path.")
    with _told(f"Importing {place!r}"):
        unique = f"_reflow_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"  # an edited file is another module
        if unique in sys.modules:
            return sys.modules[unique]
        spec = importlib.util.spec_from_file_location(unique, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module  # dataclasses in it look themselves up there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
        return module


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever a person's own code raises is theirs to read, an exit of the program included."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ReflowError(f"{what} failed: {type(error).__name__}: {error}.") from error


def _described(name: str, function: Callable[..., Any], seeing: Mapping[str, Any], source: str) -> NetworkInfo:
    if strange := [key for key in seeing if key not in SEEING]:
        raise ReflowError(f"The REFLOW settings of {name!r} contain {strange[0]!r}; allowed are {', '.join(SEEING)}.")
    classes = seeing.get("classes", 1000)
    names = tuple(str(number) for number in range(classes)) if isinstance(classes, int) else tuple(map(str, classes))
    size, view = tuple(seeing.get("size", (224, 224))), seeing.get("train_view", "")

    def build(count: int = len(names)) -> nn.Module:
        with _told(f"{name!r}"):
            built = function(count) if inspect.signature(function).parameters else function()
        if not isinstance(built, nn.Module):
            raise ReflowError(f"{name!r} returned a {type(built).__name__}, not a torch.nn.Module.")
        return built

    return NetworkInfo(
        name=name,
        title=f"{Path(name).name}, your own code",
        build=build,
        data="",
        train_view="custom" if callable(view) else str(view),
        mean=tuple(seeing.get("mean", IMAGENET_MEAN)),
        std=tuple(seeing.get("std", IMAGENET_STD)),
        size=(int(size[0]), int(size[1])),
        classes=names,
        paper="",
        collapse_at=0.8,
        resize=seeing.get("resize", 256 if size == (224, 224) else None),
        interpolation=str(seeing.get("interpolation", "bilinear")),
        own_view=OwnView(view, source) if callable(view) else None,
    )
