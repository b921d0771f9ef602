"""The ResNets of 32 px images: size, and the shortcut without weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.backbones import BACKBONES
from partrep.models.backbones.cifar_resnet import PaddedBlock


@pytest.mark.parametrize(("depth", "count"), [(20, 271_098), (32, 466_426), (56, 857_082)])
def test_sizes(depth, count, describe):
    # The values in the published files, which hold mean and variance of each BatchNorm besides, and the classifier.
    shape, found = describe(BACKBONES["cifar_resnet"](depth=depth), (1, 32, 32, 3))
    layers = (depth - 2) // 3
    channels = 16 + layers * (16 + 32 + 64)
    assert shape == (1, 8, 8, 64) and found == count - 2 * channels - 650


def test_shortcut():
    x = jnp.arange(1.0, 17).reshape(1, 4, 4, 1)
    block = PaddedBlock(3, 2)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, False))
    variables = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
    found = jax.jit(lambda x: block.apply(variables, x, False))(x)
    np.testing.assert_array_equal(found[0, :, :, 1], [[1, 3], [9, 11]])
    assert not found[..., 0].any() and not found[..., 2].any()


def test_depths_that_there_are_not(describe):
    for depth in (2, 18):
        with pytest.raises(UserError, match=f"depth {depth} of a CIFAR ResNet; expected 6n"):
            describe(BACKBONES["cifar_resnet"](depth=depth), (1, 32, 32, 3))
