"""The helpers of the few-shot heads."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from partrep.models.heads.episode import NEGATIVE, average, clean, flatten_shots, init_scale, log_weights
from partrep.models.local import Local


def test_average_over_each_axis():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(2, 3, 4, 5)), rng.uniform(size=(2, 3, 4))
    for axis in range(3):
        expected = np.average(values, axis=axis, weights=np.broadcast_to(weights[..., None], values.shape))
        np.testing.assert_allclose(average(values, weights, axis), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(average(jnp.ones((2, 3)), jnp.zeros((2, 3)), 1), [0.0, 0.0])


def test_clean_and_flatten():
    vectors = np.array([[[[1.0, 2.0], [np.nan, 0.0]], [[3.0, 4.0], [5.0, 6.0]]]])
    local = Local(vectors, np.array([[[0.5, 0.0], [1.0, 1.0]]]), np.ones((1, 2, 2, 2)))
    out = flatten_shots(clean(local, np.array([[True, False]])))
    np.testing.assert_array_equal(out.vectors, [[[1, 2], [0, 0], [0, 0], [0, 0]]])
    np.testing.assert_array_equal(out.weights, [[0.5, 0, 0, 0]])
    np.testing.assert_array_equal(out.positions[0, :, 0], [1, 0, 0, 0])


def test_log_weights_at_zero():
    value, slope = jax.vmap(jax.value_and_grad(log_weights))(jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(value, [NEGATIVE, np.log(0.5)], rtol=1e-6)
    np.testing.assert_allclose(slope, [0.0, 2.0])


def test_scale_starts_at_one():
    assert float(jnp.exp(init_scale(jax.random.key(0), 3)["log_scale"])) == 1.0
