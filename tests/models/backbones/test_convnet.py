"""ConvNet: grids, size, and features of mean zero."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.models.backbones import BACKBONES

ConvNet = BACKBONES["convnet"]


def test_grids(describe):
    assert describe(ConvNet(), (2, 28, 28, 1))[0] == (2, 3, 3, 160)
    fine = ConvNet(widths=(48, 96, 128), pools=(False, False, True))
    assert describe(fine, (2, 28, 28, 1))[0] == (2, 7, 7, 128)


def test_size(describe):
    # A 5x5 stem, then 3x3 convolutions 8-8, 8-16, 16-16, and a BatchNorm behind each.
    small = ConvNet(widths=(8, 16), pools=(False, True))
    weights = 25 * 1 * 8 + 9 * (8 * 8 + 8 * 16 + 16 * 16)
    assert describe(small, (1, 28, 28, 1))[1] == weights + 2 * (8 + 8 + 16 + 16)


def test_features_of_a_batch_have_mean_zero_and_both_signs():
    net = ConvNet(widths=(4, 8), pools=(False, True))
    images = jax.random.uniform(jax.random.key(0), (8, 12, 12, 1))
    features, _ = net.init_with_output(jax.random.key(1), images, True)
    np.testing.assert_allclose(features.mean((0, 1, 2)), 0.0, atol=1e-5)
    assert float(features.min()) < 0 < float(features.max())


def test_one_pool_a_stage(describe):
    with pytest.raises(UserError, match="one entry a stage"):
        describe(ConvNet(widths=(8, 16), pools=(False,)), (1, 28, 28, 1))
