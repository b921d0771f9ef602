"""GeM as a part method; its formula is tested with the other read-outs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.parts.gem import Gem

FEATURES = jax.random.uniform(jax.random.key(0), (2, 3, 4, 5))


def test_gem_pools_the_whole_image_with_a_learned_power():
    module = Gem(power=2.5)
    start = jax.jit(module.init_with_output, static_argnames="train")
    parts, variables = start(jax.random.key(1), FEATURES.astype(jnp.bfloat16), train=True)
    assert parts.vectors.dtype == jnp.float32 and parts.background is None and parts.scores is None
    low = np.asarray(FEATURES.astype(jnp.bfloat16), np.float64)
    np.testing.assert_allclose(parts.vectors[:, 0], (low**2.5).mean((1, 2)) ** (1 / 2.5), rtol=1e-5)
    np.testing.assert_array_equal(parts.assignment, np.ones((2, 1, 3, 4)))
    np.testing.assert_allclose(parts.centroid, 0.5, atol=1e-6)

    def loss(variables):
        return module.apply(variables, FEATURES, train=True).vectors.sum()

    slope = jax.jit(jax.grad(loss))(variables)["params"]["power"]
    assert slope.shape == () and slope > 0  # larger powers give larger means


def test_bad_features_are_named():
    with pytest.raises(ValueError, match="features has shape"):
        Gem().init(jax.random.key(0), jnp.ones((2, 3, 4)), train=False)
