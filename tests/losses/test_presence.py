"""Presence of parts over the batch and of background near the border, against float64 loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import background_presence, presence
from partrep.losses.presence import neighbour_mean

RNG = np.random.default_rng(3)
MAPS = RNG.uniform(size=(3, 2, 4, 5))


def smooth(maps):
    out = np.empty_like(maps)
    for *lead, y, x in np.ndindex(maps.shape):
        block = maps[tuple(lead)][max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        out[(*lead, y, x)] = block.mean()
    return out


def border_oracle(background):
    rows, columns = background.shape[1:]
    v, u = (2 * (np.arange(n) + 0.5) / n - 1 for n in (rows, columns))
    radius = v[:, None] ** 2 + u[None] ** 2
    return -np.log((radius / radius.max() * smooth(background)).max((1, 2)) + 1e-6)


def test_neighbour_mean_against_loop():
    np.testing.assert_allclose(neighbour_mean(jnp.float32(MAPS)), smooth(MAPS), rtol=1e-5)


def test_presence_against_oracle(matches):
    matches(presence, lambda a: 1 - smooth(a).max((0, 2, 3)).mean(), MAPS)


def test_background_presence_against_oracle(matches):
    matches(background_presence, border_oracle, MAPS[:, 0])


def test_masked_examples_are_ignored():
    where = jnp.array([True, False, True])
    filled = jnp.float32(MAPS).at[1].set(1.0)
    np.testing.assert_allclose(presence(filled, where), presence(jnp.float32(MAPS[[0, 2]])), rtol=1e-6)
    gradient = jax.jit(jax.grad(presence))(filled, where)
    np.testing.assert_array_equal(np.asarray(gradient)[1], 0.0)


def test_one_image_is_enough_for_a_part_and_all_parts_are_needed():
    maps = jnp.zeros((4, 2, 6, 6)).at[2, 0, 1:4, 1:4].set(1.0)
    assert float(presence(maps)) == 0.5
    assert float(presence(maps.at[0, 1, 3:, 3:].set(1.0))) == 0.0


def test_background_in_the_centre_is_worth_less_than_at_a_corner():
    corner = jnp.zeros((1, 7, 7)).at[:, :2, :2].set(1.0)
    centre = jnp.zeros((1, 7, 7)).at[:, 2:5, 2:5].set(1.0)
    assert float(background_presence(corner)[0]) < 1e-5 < 1 < float(background_presence(centre)[0])
    gradient = jax.jit(jax.grad(lambda g: background_presence(g).sum()))
    assert np.isfinite(gradient(jnp.zeros((1, 3, 3)))).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="where has shape"):
        presence(jnp.ones((2, 3, 4, 4)), jnp.ones(3, bool))
    with pytest.raises(ValueError, match="a grid of 1 cell has no border"):
        background_presence(jnp.ones((2, 1, 1)))
