"""Spatial spread against float64 loops; hand-worked maps; empty parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import concentration, spread

MAPS = np.random.default_rng(0).uniform(0.05, 1, size=(2, 3, 3, 4))


def moments(maps):
    y, x = np.meshgrid((np.arange(3) + 0.5) / 3, (np.arange(4) + 0.5) / 4, indexing="ij")
    out = np.zeros(maps.shape[:2])
    for b, k in np.ndindex(out.shape):
        a = maps[b, k]
        cy, cx = (a * y).sum() / a.sum(), (a * x).sum() / a.sum()
        out[b, k] = (a * ((y - cy) ** 2 + (x - cx) ** 2)).sum()
    return out


def test_concentration_against_oracle(matches):
    matches(concentration, lambda a: moments(a).mean(1) / 12, MAPS)


def test_spread_against_oracle(matches):
    matches(spread, lambda a: (moments(a) / a.sum((2, 3))).mean(1), MAPS)


def test_a_point_costs_nothing_and_two_corners_cost_the_most():
    corners = jnp.zeros((1, 1, 50, 50)).at[0, 0, 0, 0].set(1.0).at[0, 0, 49, 49].set(1.0)
    point = jnp.zeros((1, 1, 50, 50)).at[0, 0, 20, 30].set(1.0)
    assert float(concentration(point)[0]) < 1e-9
    np.testing.assert_allclose(spread(corners), 2 * 0.49**2, rtol=1e-5)


def test_spread_does_not_depend_on_mass_and_concentration_is_proportional_to_it():
    maps = jnp.float32(MAPS)
    np.testing.assert_allclose(spread(0.1 * maps), spread(maps), rtol=1e-5)
    np.testing.assert_allclose(concentration(0.1 * maps), 0.1 * concentration(maps), rtol=1e-4)


@pytest.mark.parametrize("loss", [concentration, spread])
def test_an_empty_part_costs_nothing_and_has_finite_gradients(loss):
    value, gradient = jax.jit(jax.value_and_grad(lambda a: loss(a).sum()))(jnp.zeros((1, 2, 3, 3)))
    assert float(value) == 0 and np.isfinite(gradient).all()
    with pytest.raises(ValueError, match="assignment has shape"):
        loss(jnp.ones((2, 3, 3)))
