"""The pretrained networks by name: their backbone, the names that their files use, and their preprocessing."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

from partrep.models.pretrained import tables
from partrep.models.pretrained.convert import Table
from partrep.models.pretrained.preprocessing import Preprocessing


class Source(NamedTuple):
    """One library's names for a network, and what it does to images before."""

    table: Table
    preprocessing: Preprocessing


@dataclasses.dataclass(frozen=True)
class Family:
    """A network of one size.

    Attributes:
        backbone: name and fields of the module.
        sources: libraries whose files it comes in; the names in a file tell which. Where two have the same names
            (the ResNets of timm and of torchvision), the preprocessing is that of torchvision's first weights.
        classified: what its classifier reads: the mean of the features, that mean standardised (LayerNorm,
            whose scale and shift are in the classifier), or the class token of a transformer.
    """

    backbone: dict[str, Any]
    sources: tuple[Source, ...]
    classified: Literal["mean", "standardised mean", "class token"] = "mean"


HALF = (0.5, 0.5, 0.5)
SIGNED = (128 / 255,) * 3  # (u8 - 128) / 128
IMAGENET = Preprocessing()  # of torchvision's first weights, and of DINO but for the interpolation
IMAGENET_BICUBIC = Preprocessing(interpolation="bicubic")
TIMM_VIT = Preprocessing(resize=248, interpolation="bicubic", mean=HALF, std=HALF)


def _resnet(name: str, table: Table) -> Family:
    return Family({"name": name}, (Source(table, IMAGENET),))


def _cifar_resnet(depth: int) -> Family:
    drawn = Preprocessing(resize=32, crop=32)
    return Family({"name": "cifar_resnet", "depth": depth}, (Source(tables.CIFAR_RESNET, drawn),))


SMALL = {"width": 384, "depth": 12, "heads": 6}
BASE = {"width": 768, "depth": 12, "heads": 12}
TORCHVISION_VIT = Source(tables.VIT_TORCHVISION, IMAGENET)


def _vit(size: dict[str, int], patch: int) -> Family:
    """Of timm, and of torchvision where that has it."""
    sources = (Source(tables.VIT_TIMM, TIMM_VIT), TORCHVISION_VIT)
    return Family({"name": "vit", "patch": patch, **size}, sources, "class token")


def _dino(size: dict[str, int], patch: int) -> Family:
    fields = {"name": "vit", "patch": patch, **size, "interpolation": "offset"}
    return Family(fields, (Source(tables.VIT_TIMM, IMAGENET_BICUBIC),), "class token")


def _dinov2(size: dict[str, int], registers: int) -> Family:
    interpolation = "antialias" if registers else "offset"
    fields = {"name": "vit", "patch": 14, **size, "grid": 37, "registers": registers, "layer_scale": True}
    source = Source(tables.VIT_TIMM, IMAGENET_BICUBIC)
    return Family({**fields, "interpolation": interpolation}, (source,), "class token")


FAMILIES = {
    "mobilenetv2": Family(
        {"name": "mobilenetv2", "padding": "symmetric"},
        (Source(tables.MOBILENETV2_TORCHVISION, IMAGENET), Source(tables.MOBILENETV2_TIMM, IMAGENET_BICUBIC)),
    ),
    "mobilenetv2_tf": Family(
        {"name": "mobilenetv2", "padding": "same"},
        (Source(tables.MOBILENETV2_TIMM, Preprocessing(mean=SIGNED, std=SIGNED)),),
    ),
    "resnet18": _resnet("resnet18", tables.RESNET_BASIC),
    "resnet34": _resnet("resnet34", tables.RESNET_BASIC),
    "resnet50": _resnet("resnet50", tables.RESNET_BOTTLENECK),
    "resnet101": _resnet("resnet101", tables.RESNET_BOTTLENECK),
    "cifar_resnet20": _cifar_resnet(20),
    "cifar_resnet32": _cifar_resnet(32),
    "cifar_resnet56": _cifar_resnet(56),
    "convnext_tiny": Family(
        {"name": "convnext_tiny"},
        (
            Source(tables.CONVNEXT_TORCHVISION, Preprocessing(resize=236)),
            Source(tables.CONVNEXT_TIMM, IMAGENET_BICUBIC),
        ),
        "standardised mean",
    ),
    "vit_small_16": _vit(SMALL, 16),
    "vit_base_16": _vit(BASE, 16),
    "vit_small_8": _vit(SMALL, 8),
    "vit_base_8": _vit(BASE, 8),
    "dino_vits16": _dino(SMALL, 16),
    "dino_vits8": _dino(SMALL, 8),
    "dino_vitb16": _dino(BASE, 16),
    "dino_vitb8": _dino(BASE, 8),
    "dinov2_vits14": _dinov2(SMALL, 0),
    "dinov2_vitb14": _dinov2(BASE, 0),
    "dinov2_vits14_reg": _dinov2(SMALL, 4),
    "dinov2_vitb14_reg": _dinov2(BASE, 4),
}
