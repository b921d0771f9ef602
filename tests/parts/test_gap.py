"""The pooling baseline: one part, the whole image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.parts import METHODS
from partrep.parts.gap import Gap


def test_gap_is_the_mean():
    features = jax.random.normal(jax.random.key(0), (2, 3, 4, 5)).astype(jnp.bfloat16)
    parts = jax.jit(lambda z: Gap().apply({}, z, train=True))(features)
    expected = np.asarray(features, np.float64).mean((1, 2))
    np.testing.assert_allclose(parts.vectors[:, 0], expected, rtol=1e-5, atol=1e-6)
    assert parts.vectors.dtype == jnp.float32 and parts.background is None and parts.scores is None
    np.testing.assert_array_equal(parts.assignment, np.ones((2, 1, 3, 4)))
    np.testing.assert_allclose(parts.centroid, 0.5, atol=1e-6)
    np.testing.assert_array_equal(parts.presence, 1.0)


def test_several_parts_are_the_same_image():
    features = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    parts, one = (Gap(parts=k).apply({}, features, train=False) for k in (3, 1))
    for name in ("vectors", "assignment", "presence", "centroid"):
        found, single = getattr(parts, name), getattr(one, name)
        np.testing.assert_array_equal(found, np.repeat(single, 3, axis=1))


def test_gap_has_no_parameters():
    assert not Gap().init(jax.random.key(0), jnp.ones((1, 2, 2, 3)), train=False)


def test_bad_features_are_named():
    with pytest.raises(ValueError, match="features has shape"):
        Gap().apply({}, jnp.ones((2, 3, 4)), train=False)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_which_levels_of_explanation_it_has(name):
    text = METHODS[name].__doc__
    assert "level 1" in text and "level 2" in text and "level 3" in text and "Source:" in text
