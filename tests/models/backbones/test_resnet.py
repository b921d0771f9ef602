"""Residual networks: published sizes and grids."""

from __future__ import annotations

import pytest

from partrep import UserError
from partrep.models.backbones import BACKBONES


def test_resnet12(describe):
    # By hand, convolutions + BatchNorm of each block: 76,160 + 564,480 + 2,357,760 + 9,425,920.
    shape, count = describe(BACKBONES["resnet12"](), (1, 84, 84, 3))
    assert shape == (1, 5, 5, 640) and count == 12_424_320


def test_resnet18(describe):
    # torchvision's resnet18 has 11,689,512 parameters, its classifier 512 * 1000 + 1000 of them.
    shape, count = describe(BACKBONES["resnet18"](), (1, 224, 224, 3))
    assert shape == (1, 7, 7, 512) and count == 11_689_512 - 513_000


def test_resnet18_grids(describe):
    fine = BACKBONES["resnet18"](strides=(1, 2, 2, 1))
    assert describe(fine, (1, 224, 224, 3))[0] == (1, 14, 14, 512)
    small = BACKBONES["resnet18"](stem="small", strides=(1, 2, 2, 1))
    assert describe(small, (1, 32, 32, 3))[0] == (1, 8, 8, 512)


def test_unknown_stem(describe):
    with pytest.raises(UserError, match="unknown stem of ResNet-18 'tiny'; known: small, standard"):
        describe(BACKBONES["resnet18"](stem="tiny"), (1, 32, 32, 3))


def test_larger_ones(describe):
    # torchvision's have 21,797,672, 25,557,032 and 44,549,160 parameters, of which the classifiers' C * 1000 + 1000.
    for name, width, count in (("resnet34", 512, 21_797_672), ("resnet50", 2048, 25_557_032), ("resnet101", 2048, 44_549_160)):
        shape, found = describe(BACKBONES[name](), (1, 224, 224, 3))
        assert shape == (1, 7, 7, width) and found == count - (width * 1000 + 1000)
