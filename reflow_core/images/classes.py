"""Matching the classes of images with those of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from reflow_core.errors import ReflowError
from reflow_core.images.image_set import Images, ImageSet
from reflow_core.networks.info import NetworkInfo
from reflow_core.networks.zoo import classes_of_imagenet, synsets


@dataclass(frozen=True, slots=True)
class Match:
    """`classes`: the model's, by index. `order`: the model's index of each `given` class. `notes`: how it was done."""

    classes: tuple[str, ...]
    order: tuple[int, ...]
    given: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def match(given: tuple[str, ...], info: NetworkInfo, place: str) -> Match:
    """The model's class index of each given class: by name, by ImageNet synset, by index, or by place in the alphabet.

    By place only where the model's classes have no names and the numbers agree; they are then called as given. A
    thousand classes without names are ImageNet's where the images are called by its synsets. Raises ReflowError that
    names the classes which the model does not have.
    """
    if given == info.classes:  # also where two classes share a name, as ImageNet's cranes
        return Match(info.classes, tuple(range(len(given))), given)
    for aliases in (names(info.classes), synsets() if len(info.classes) == len(synsets()) else {}):
        if aliases and all(_plain(name) in aliases for name in given):
            imagenet = bool(given) and unnamed(info.classes) and aliases is synsets()
            classes = classes_of_imagenet() if imagenet else info.classes
            return Match(classes, tuple(aliases[_plain(name)] for name in given), given)
    indices = [int(name) if name.isdecimal() else -1 for name in given]
    if all(0 <= index < len(info.classes) for index in indices):
        return Match(info.classes, tuple(indices), given, ("Class folders are read as class numbers.",) * bool(given))
    if len(given) == len(info.classes):
        ordered = tuple(sorted(given))
        named = ordered if unnamed(info.classes) else info.classes
        note = (
            f"Classes are matched in alphabetical order: {given[0]!r} is {named[0]!r}, {given[-1]!r} is {named[-1]!r}."
        )
        return Match(
            named, tuple(ordered.index(name) for name in given), given, () if unnamed(info.classes) else (note,)
        )
    aliases = names(info.classes)
    strange = [name for name in given if _plain(name) not in aliases]
    raise ReflowError(
        f"{place!r} has {len(given)} classes, and the model does not know {', '.join(strange[:3])}; it knows "
        f"{', '.join(info.classes[:10])}{' …' if len(info.classes) > 10 else ''}."
    )


def fitted(images: ImageSet, info: NetworkInfo) -> ImageSet:
    """The images with the network's classes. Raises ReflowError where their size or their classes do not fit."""
    if tuple(images.test.pixels.shape[2:]) != info.stored:
        raise ReflowError(f"{info.name} was not trained on {images.name!r}; use data={info.data} or 'auto'.")
    matched = match(images.classes, info, images.name)
    order = torch.tensor(matched.order)
    train, test = (
        Images(part.pixels, None if part.labels is None else order[part.labels]) for part in (images.train, images.test)
    )
    return ImageSet(images.name, train, test, matched.classes, (*images.notes, *matched.notes))


def names(classes: tuple[str, ...]) -> Mapping[str, int]:
    """Class index by name, whatever its case and separators."""
    return {_plain(name): index for index, name in enumerate(classes)}


def unnamed(classes: tuple[str, ...]) -> bool:
    """Whether classes are called by their numbers only."""
    return classes == tuple(str(number) for number in range(len(classes)))


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ")
