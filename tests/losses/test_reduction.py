"""Masked means ignore what is masked, NaN and gradient too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses.reduction import mean_where


def test_masked_mean_and_gradient():
    values, where = jnp.array([1.0, jnp.nan, 4.0, jnp.inf]), jnp.array([True, False, True, False])
    value, gradient = jax.value_and_grad(mean_where)(values, where)
    assert float(value) == 2.5
    np.testing.assert_array_equal(gradient, [0.5, 0, 0.5, 0])


def test_without_mask_and_with_nothing():
    assert float(mean_where(jnp.array([1.0, 2.0], jnp.bfloat16))) == 1.5
    assert float(mean_where(jnp.array([5.0]), jnp.array([False]))) == 0.0


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"mean_where: where has shape \(3,\); expected \[B\] with B=2"):
        mean_where(jnp.ones(2), jnp.ones(3, bool))
