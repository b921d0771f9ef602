"""Tiny networks whose activations are known, and a family of their size."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from partrep.models.pretrained.families import FAMILIES

collect_ignore = ["make_golden.py", "torch_networks.py"]  # need PyTorch
GOLDEN = pathlib.Path(__file__).parent / "golden"
CONV = {"widths": (4, 6, 6, 8)}
VIT = {"patch": 4, "width": 8, "depth": 2, "heads": 2}
MOBILE = {"widths": (4, 4, 6, 6, 6, 8, 8), "depths": (1, 2, 1, 1, 1, 1, 1), "stem": 4, "head": 12}
TINY = {  # by name of the file: the family, and the fields that make it tiny
    "mobilenetv2": ("mobilenetv2", MOBILE),
    "resnet_basic": ("resnet34", {**CONV, "stages": (2, 1, 1, 1)}),
    "resnet_bottleneck": ("resnet50", {**CONV, "stages": (1, 2, 1, 1)}),
    "convnext_torchvision": ("convnext_tiny", {**CONV, "depths": (1, 2, 1, 1)}),
    "convnext_timm": ("convnext_tiny", {**CONV, "depths": (1, 2, 1, 1)}),
    "vit_timm": ("vit_small_16", VIT),
    "vit_torchvision": ("vit_base_16", VIT),
    "dino": ("dino_vits16", VIT),
    "dinov2": ("dinov2_vits14", VIT),
    "dinov2_reg": ("dinov2_vits14_reg", VIT),
}


@pytest.fixture(scope="session")
def golden() -> np.lib.npyio.NpzFile:
    return np.load(GOLDEN / "golden.npz")


@pytest.fixture(scope="session")
def folder() -> pathlib.Path:
    return GOLDEN


@pytest.fixture
def shrink(monkeypatch):
    """shrink(name of a file) makes its family tiny, and returns the family's name."""

    def run(name):
        family, fields = TINY[name]
        known = FAMILIES[family]
        monkeypatch.setitem(FAMILIES, family, dataclasses.replace(known, backbone={**known.backbone, **fields}))
        return family

    return run
