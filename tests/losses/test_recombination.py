"""Recombination against float64 NumPy; scale and shift change nothing; the variance gets no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import recombination

RNG = np.random.default_rng(5)
X, P = RNG.normal(size=(2, 6, 4))
VARIANCE = sum((X[b, c] - np.mean(X[:, c])) ** 2 for b in range(6) for c in range(4))


def oracle(x, p, variance=VARIANCE):
    return sum((x[b, c] - p[b, c]) ** 2 for b in range(6) for c in range(4)) / variance


def test_against_the_oracle_with_the_variance_held_fixed(matches):
    matches(lambda p: recombination(jnp.float32(X), p), lambda p: oracle(X, p), P)
    matches(lambda x: recombination(x, jnp.float32(P)), lambda x: oracle(x, P), X)


def test_the_variance_gets_no_gradient():
    """With a residual that does not depend on the logits, nothing else could have one."""
    gradient = jax.grad(lambda x: recombination(x, x + jnp.float32(P)))(jnp.float32(X))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("scale, shift", [(3.0, 0.0), (0.01, 0.0), (1.0, 5.0), (-2.0, np.arange(4.0))])
def test_scale_and_shift_change_nothing(scale, shift):
    moved = recombination(jnp.float32(scale * X + shift), jnp.float32(scale * P + shift))
    np.testing.assert_allclose(moved, recombination(jnp.float32(X), jnp.float32(P)), rtol=1e-4)


def test_the_classes_mean_alone_explains_nothing():
    mean = np.broadcast_to(X.mean(0), X.shape)
    np.testing.assert_allclose(recombination(jnp.float32(X), jnp.float32(mean)), 1.0, rtol=1e-6)
    assert recombination(jnp.float32(X), jnp.float32(X)) == 0


def test_logits_that_do_not_vary_are_finite():
    value, gradient = jax.value_and_grad(recombination)(jnp.ones((3, 2)), jnp.zeros((3, 2)))
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="predicted has shape"):
        recombination(jnp.ones((2, 3)), jnp.ones((2, 4)))
