"""The mean squared error against float64, and its place in a Gaussian likelihood."""

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import reconstruction

RNG = np.random.default_rng(8)
IMAGE, PAINTED = RNG.uniform(size=(2, 3, 2, 3)), RNG.uniform(size=(2, 3, 2, 3))


def test_against_oracle(matches):
    matches(lambda y: reconstruction(jnp.float32(IMAGE), y), lambda y: ((IMAGE - y) ** 2).mean((1, 2, 3)), PAINTED)


def test_it_is_the_gaussian_likelihood_up_to_the_stated_constants():
    s, d = 0.2, 18
    log_density = -0.5 * ((IMAGE - PAINTED) / s) ** 2 - np.log(s * np.sqrt(2 * np.pi))
    value = reconstruction(jnp.float32(IMAGE), jnp.float32(PAINTED))
    nats = d * value / (2 * s**2) + d / 2 * np.log(2 * np.pi * s**2)
    np.testing.assert_allclose(nats, -log_density.sum((1, 2, 3)), rtol=1e-5)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="reconstructed has shape"):
        reconstruction(jnp.ones((2, 4, 4, 3)), jnp.ones((2, 4, 4, 1)))
