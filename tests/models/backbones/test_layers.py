"""Pooling, patches and padding of the backbones' layers."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.backbones.layers import conv3x3, max_pool, patches


def test_max_pool_is_the_window_maximum_and_has_its_gradient():
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(max_pool(x, 2), nn.max_pool(x, (2, 2), (2, 2)))
    ours = jax.grad(lambda x: (max_pool(x, 2) ** 2).sum())(x)
    theirs = jax.grad(lambda x: (nn.max_pool(x, (2, 2), (2, 2)) ** 2).sum())(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert max_pool(x, 1) is x


def test_patches_keep_every_pixel_in_its_cell():
    x = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    out = patches(x, 2)
    assert out.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(out[1, 1, 2], x[1, 2:4, 4:6].reshape(-1))


def test_patches_refuse_what_does_not_divide():
    with pytest.raises(UserError, match="30x28; expected sides that are multiples of the patch, 4"):
        patches(jnp.zeros((1, 30, 28, 3)), 4)


def test_strided_convolutions_pad_one_on_every_side():
    # The layout of imported weights: torch pads (1, 1); "SAME" would pad (0, 1) here.
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 1, 1)).astype(np.float32)
    out = conv3x3(1, 2).apply({"params": {"kernel": kernel}}, x)
    padded = np.pad(x[0, :, :, 0], 1)
    expected = [[(padded[i : i + 3, j : j + 3] * kernel[..., 0, 0]).sum() for j in (0, 2, 4)] for i in (0, 2, 4)]
    np.testing.assert_allclose(out[0, :, :, 0], expected, rtol=1e-4, atol=1e-5)
