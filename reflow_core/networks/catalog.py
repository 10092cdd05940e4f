"""Every network the lab knows by name: how to build it, how it saw its images, where its weights are."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn

from reflow_core.errors import unknown
from reflow_core.networks import compact, efficientnet, vit
from reflow_core.networks.hub import described, is_timm
from reflow_core.networks.info import IMAGENET_MEAN, IMAGENET_STD, Download, Facts, NetworkInfo, Triple, facts_of
from reflow_core.networks.resnet import resnet
from reflow_core.networks.zoo import classes_of_imagenet, zoo

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


catalog: dict[str, NetworkInfo] = {}


def register(info: NetworkInfo) -> None:
    """File a network under its name. Raises ValueError on a duplicate."""
    if info.name in catalog:
        raise ValueError(f"network {info.name!r} is registered twice")
    catalog[info.name] = info


def known() -> dict[str, NetworkInfo]:
    """Every network that has a name of its own: those that ship or that we register, then torchvision's."""
    return catalog | zoo()


@functools.cache
def facts(name: str, with_cost: bool = False) -> Facts | None:
    """What a named network is made of, None where nobody can tell before it is loaded. Raises ReflowError.

    `with_cost`: with its multiply-adds, which for a network of ours are counted now.
    """
    info = find(name)
    if info.facts is not None or name not in catalog:
        return info.facts
    return facts_of(info.build(len(info.classes)), info.size if with_cost else None)


def find(name: str) -> NetworkInfo:
    """The network called `name`. Raises ReflowError with the nearest match."""
    if name in catalog:
        return catalog[name]
    if is_timm(name):
        return described(name)
    if name not in zoo():
        raise unknown("model", name, known())
    return zoo()[name]


def _digits(
    name: str, title: str, build: Callable[[int], nn.Module], paper: str, collapse_at: float, data: str = "digits"
) -> None:
    classes = tuple(str(digit) for digit in range(10))
    half: Triple = (0.5, 0.5, 0.5)
    register(NetworkInfo(name, title, build, data, "affine", half, half, (16, 16), classes, paper, collapse_at))


def _cifar10(depth: int, hash_prefix: str, size: int) -> None:
    home = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
    register(
        NetworkInfo(
            name=f"resnet{depth}-cifar10",
            title=f"ResNet-{depth} on CIFAR-10",
            build=resnet(depth),
            data="cifar10",
            train_view="cifar",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            size=(32, 32),
            classes=CIFAR10_CLASSES,
            paper="arXiv 1512.03385",
            collapse_at=0.9,
            download=Download(f"{home}/resnet{depth}-{hash_prefix}.th", hash_prefix, size),
        )
    )


def _efficientnet_lite0() -> None:
    register(
        NetworkInfo(
            name=efficientnet.NAME,
            title="EfficientNet-Lite0 on ImageNet",
            build=efficientnet.build,
            data="imagenette",
            train_view="imagenet",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            size=(224, 224),
            classes=classes_of_imagenet(),
            paper="arXiv 1905.11946",
            collapse_at=0.5,
            packaged=efficientnet.weights,
            resize=256,
            interpolation="bicubic",
            facts=Facts(4_652_008, 50, {"BatchNorm2d": 49}, 385_187_552),
        )
    )


_digits("resnet20-digits", "ResNet-20 on digits", resnet(20), "arXiv 1512.03385", 0.8)
_digits("mobilenet-digits", "MobileNet on digits", compact.mobilenet, "arXiv 1704.04861", 0.85)
_digits("resnext-digits", "ResNeXt on digits", compact.resnext, "arXiv 1611.05431", 0.7)
_digits("vgg-digits", "VGG with BatchNorm on digits", compact.vgg, "arXiv 1409.1556", 0.8)
_digits("convnext-digits", "ConvNeXt on digits (LayerNorm, no BatchNorm)", compact.ConvNeXt, "arXiv 2201.03545", 0.85)
_digits("vit-digits", "ViT on digits (attention, LayerNorm)", vit.VisionTransformer, "arXiv 2010.11929", 0.9)
_digits(
    "resnet20-digits-longtail",
    "ResNet-20 on digits, long tail in training (1:10)",
    resnet(20),
    "arXiv 1512.03385",
    0.8,
    "digits-longtail",
)

_cifar10(20, "12fca82f", 1_100_000)
_cifar10(32, "d509ac18", 1_900_000)
_cifar10(44, "014dd654", 2_700_000)
_cifar10(56, "4bfd9763", 3_500_000)

_efficientnet_lite0()
