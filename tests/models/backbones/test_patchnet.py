"""PatchNet: grids of birds and of Omniglot."""

from __future__ import annotations

import pytest

from partrep import UserError
from partrep.models.backbones import BACKBONES

PatchNet = BACKBONES["patchnet"]


def test_grids(describe):
    assert describe(PatchNet(), (2, 64, 64, 3))[0] == (2, 16, 16, 64)
    assert describe(PatchNet(patch=2), (2, 28, 28, 1))[0] == (2, 14, 14, 64)
    coarse = PatchNet(patch=2, widths=(64, 128), depths=(2, 2), strides=(1, 2))
    assert describe(coarse, (2, 28, 28, 1))[0] == (2, 7, 7, 128)


def test_size(describe):
    # 48 x 64 patch weights, four 3x3 convolutions, five pairs of BatchNorm.
    assert describe(PatchNet(), (1, 64, 64, 3))[1] == 48 * 64 + 4 * 9 * 64 * 64 + 5 * 2 * 64


def test_images_that_do_not_divide(describe):
    with pytest.raises(UserError, match="multiples of the patch, 4"):
        describe(PatchNet(), (1, 30, 30, 3))
