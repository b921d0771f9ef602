"""MobileNetV2: published size, grids, padding."""

from __future__ import annotations

import pytest

from partrep import UserError
from partrep.models.backbones import BACKBONES


def test_size(describe):
    # The published 3,504,872 parameters less the classifier's 1280 * 1000 + 1000.
    shape, count = describe(BACKBONES["mobilenetv2"](), (1, 224, 224, 3))
    assert shape == (1, 7, 7, 1280) and count == 3_504_872 - 1_281_000


def test_finer_grid(describe):
    shape, count = describe(BACKBONES["mobilenetv2"](stride=16), (1, 224, 224, 3))
    assert shape == (1, 14, 14, 1280) and count == 3_504_872 - 1_281_000


def test_unknown_choices(describe):
    for fields, message in (
        ({"padding": "valid"}, "unknown padding of MobileNetV2 'valid'; known: same, symmetric"),
        ({"stride": 8}, "stride 8 of MobileNetV2; expected 32 or 16"),
        ({"depths": (1, 2)}, "expected one entry a stage"),
    ):
        with pytest.raises(UserError, match=message):
            describe(BACKBONES["mobilenetv2"](**fields), (1, 32, 32, 3))
