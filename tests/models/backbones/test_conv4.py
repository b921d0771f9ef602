"""Conv-4: published size and grids."""

from __future__ import annotations

import pytest

from partrep import UserError
from partrep.models.backbones import BACKBONES


def test_published_size(describe):
    # With biases the literature's count is 113,088; BatchNorm makes 4 x 64 of those redundant.
    shape, count = describe(BACKBONES["conv4"](), (2, 84, 84, 3))
    assert shape == (2, 5, 5, 64) and count == 113_088 - 4 * 64


def test_a_finer_grid(describe):
    assert describe(BACKBONES["conv4"](strides=(2, 2, 1, 1)), (2, 64, 64, 3))[0] == (2, 16, 16, 64)
    assert describe(BACKBONES["conv4"](strides=(2, 1, 1, 1)), (2, 28, 28, 1))[0] == (2, 14, 14, 64)


def test_widths_and_strides_must_pair(describe):
    with pytest.raises(UserError, match=r"widths \(8, 8\), strides \(2,\); expected one entry a stage"):
        describe(BACKBONES["conv4"](widths=(8, 8), strides=(2,)), (1, 16, 16, 3))
