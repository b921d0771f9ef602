"""Equivariance against float64 NumPy; only valid cells count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import equivariance

RNG = np.random.default_rng(4)
A, B = RNG.uniform(size=(2, 2, 3, 3, 4))  # each two images of three parts
VALID = RNG.uniform(size=(2, 3, 4)) < 0.7


def oracle(a, b, valid):
    out = np.zeros((2, 3))
    for i, k in np.ndindex(out.shape):
        x, y = a[i, k][valid[i]], b[i, k][valid[i]]
        out[i, k] = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    return 1 - out.mean(1)


def test_against_oracle(matches):
    matches(lambda a: equivariance(a, jnp.float32(B), jnp.array(VALID)), lambda a: oracle(a, B, VALID), A)
    everywhere = np.ones_like(VALID)
    matches(lambda b: equivariance(jnp.float32(A), b), lambda b: oracle(A, b, everywhere), B)


def test_identity_and_scaling_cost_nothing():
    a = jnp.float32(A)
    np.testing.assert_allclose(equivariance(a, 3 * a, jnp.array(VALID)), 0, atol=1e-6)


def test_cells_from_outside_do_not_count():
    a, b, valid = jnp.float32(A), jnp.float32(B), jnp.array(VALID)
    spoiled = jnp.where(valid[:, None], b, 50.0)
    np.testing.assert_allclose(equivariance(a, spoiled, valid), equivariance(a, b, valid), rtol=1e-5)


def test_empty_maps_cost_one_and_have_finite_gradients():
    empty = jnp.zeros((1, 2, 3, 3))
    assert float(equivariance(empty, empty)[0]) == 1
    assert np.isfinite(jax.grad(lambda a: equivariance(a, empty + 1).sum())(empty)).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((jnp.ones((2, 3, 4, 4)), jnp.ones((2, 3, 4, 5))), "returned has shape"),
        ((jnp.ones((2, 3, 4, 4)), jnp.ones((2, 3, 4, 4)), jnp.ones((2, 4))), "valid has shape"),
    ],
)
def test_bad_shapes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        equivariance(*arguments)
