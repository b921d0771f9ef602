"""Total variation against a float64 loop over neighbours."""

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import total_variation

MAPS = np.random.default_rng(1).uniform(size=(2, 2, 3, 4))


def oracle(maps):
    total = np.zeros(len(maps))
    for b, k, y, x in np.ndindex(maps.shape):
        if y:
            total[b] += abs(maps[b, k, y, x] - maps[b, k, y - 1, x])
        if x:
            total[b] += abs(maps[b, k, y, x] - maps[b, k, y, x - 1])
    return total / 12


def test_against_oracle(matches):
    matches(total_variation, oracle, MAPS)


def test_constant_maps_cost_nothing_and_a_border_costs_its_length():
    assert float(total_variation(jnp.full((1, 3, 4, 4), 0.3))[0]) == 0
    square = jnp.zeros((1, 1, 10, 10)).at[:, :, 2:5, 3:7].set(1.0)
    np.testing.assert_allclose(total_variation(square), (2 * 3 + 2 * 4) / 100, rtol=1e-6)
    assert total_variation(jnp.ones((1, 1, 1, 1))).shape == (1,)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="assignment has shape"):
        total_variation(jnp.ones((2, 3, 3)))
