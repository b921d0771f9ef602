"""Resizing against NumPy interpolation, kept sums, and normalisation of ordinary and flat maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.explain.maps import minmax, spread, upsample

MAPS = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
UPSAMPLE = jax.jit(upsample, static_argnums=(1, 2))
SPREAD = jax.jit(spread, static_argnums=(1, 2))
MINMAX = jax.jit(minmax)


def line(values, pixels):
    cells = len(values)
    place = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    return np.interp(place, np.arange(cells), values)


@pytest.mark.parametrize("size", [(3, 4), (7, 13)])
def test_upsample_against_interpolation_row_by_row(size):
    rows = np.apply_along_axis(line, 2, MAPS.astype(np.float64), size[1])
    np.testing.assert_allclose(UPSAMPLE(MAPS, *size), np.apply_along_axis(line, 1, rows, size[0]), atol=1e-5)


@pytest.mark.parametrize("size", [(3, 4), (7, 13)])
def test_spread_keeps_sums_and_every_cell_its_own(size):
    wide = np.asarray(SPREAD(MAPS, *size), np.float64)
    np.testing.assert_allclose(wide.sum((1, 2)), MAPS.sum((1, 2)), atol=1e-5)
    back = np.zeros(MAPS.shape)
    for y, x in np.ndindex(*size):
        back[:, int((y + 0.5) * 3 / size[0]), int((x + 0.5) * 4 / size[1])] += wide[:, y, x]
    np.testing.assert_allclose(back, MAPS, atol=1e-5)


def test_maps_are_not_made_smaller():
    for resize in (upsample, spread):
        with pytest.raises(ValueError, match=f"{resize.__name__}: maps of 3 x 4 to 6 x 3; expected no smaller"):
            resize(MAPS, 6, 3)


def test_minmax_fills_the_unit_range_and_ignores_scale_and_offset():
    normal = MINMAX(MAPS)
    np.testing.assert_allclose(normal.min((1, 2)), 0.0)
    np.testing.assert_allclose(normal.max((1, 2)), 1.0)
    np.testing.assert_allclose(MINMAX(1e-4 * MAPS + 1e-3), normal, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e8])
def test_a_flat_map_is_zero_also_when_upsampling_rounds_it(value):
    flat = UPSAMPLE(np.full((2, 3, 4), value, np.float32), 7, 13)
    assert not MINMAX(flat).any()
    assert not jax.jit(jax.grad(lambda m: MINMAX(m).sum()))(flat).any()


def test_minmax_does_not_hide_a_missing_value():
    assert np.isnan(MINMAX(jnp.array([[[1.0, jnp.nan]]]))).all()
