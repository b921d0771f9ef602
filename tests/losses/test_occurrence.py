"""The occurrence prior: quantiles, the released degenerate prior, masked batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal
from scipy.stats import beta

from partrep.losses import occurrence
from partrep.losses.occurrence import beta_quantiles, smoothed_occurrence

PRESENCE = np.random.default_rng(7).uniform(0.05, 0.95, size=(6, 3))
TABLE = beta_quantiles(0.5, 0.8, 6)


def oracle(presence):
    n = len(presence)
    target = beta.ppf((2 * np.arange(1, n + 1) - 1) / (2 * n), 0.5, 0.8)[:, None]
    return np.abs(np.log(np.sort(presence, axis=0) + 1e-5) - np.log(target + 1e-5)).mean()


def test_against_oracle(matches):
    matches(lambda t: occurrence(t, TABLE), oracle, PRESENCE)


def test_masked_examples_are_left_out_of_the_sort_and_of_the_quantiles():
    where = np.array([True, False, True, True, False, True])
    matches_rows = oracle(PRESENCE[where])
    value, gradient = jax.jit(jax.value_and_grad(occurrence))(jnp.float32(PRESENCE), TABLE, jnp.array(where))
    np.testing.assert_allclose(value, matches_rows, rtol=1e-4)
    np.testing.assert_array_equal(gradient[jnp.array([1, 4])], 0.0)
    assert float(occurrence(jnp.float32(PRESENCE), TABLE, jnp.zeros(6, bool))) == 0


def test_the_released_prior_asks_for_every_part_in_every_image():
    table = beta_quantiles(1.0, 0.001, 64)
    assert table[64].min() > 0.999
    assert float(occurrence(jnp.ones((64, 2)), table)) < 1e-5
    large = beta_quantiles(1.0, 0.001, 256)
    np.testing.assert_allclose(large[256, -1], 1.0)
    np.testing.assert_allclose(large[256, 0], 1 - (511 / 512) ** 1000, rtol=1e-5)
    np.testing.assert_allclose(large[256, 0], 0.858, atol=1e-3)
    np.testing.assert_allclose(jax.jit(occurrence)(np.ones((256, 2)), large), 6e-4, rtol=0.1)


def test_a_symmetric_prior_has_symmetric_quantiles():
    row = beta_quantiles(0.2, 0.2, 9)[9]
    np.testing.assert_allclose(row + row[::-1], 1.0, atol=1e-6)


@pytest.mark.parametrize("batch", [16, 33, 256])
def test_a_prior_with_absences_is_a_third_zeros_and_two_thirds_ones(batch):
    row = beta_quantiles(0.002, 0.001, batch)[batch]
    assert np.isfinite(row).all() and (np.diff(row) >= 0).all()
    middle = ((row > 0.01) & (row < 0.99)).mean()
    assert middle < 0.02 and (row < 0.01).mean() == pytest.approx(1 / 3, abs=0.04)
    shares = (2 * np.arange(1, batch + 1) - 1) / (2 * batch)
    low = shares < 0.331  # near 0 the distribution is (2/3) ... x^0.002 / 2: quantiles are (3 q)^500
    np.testing.assert_allclose(row[low], (3 * shares[low]) ** 500, rtol=0.05, atol=1e-8)
    high = shares > 0.336
    np.testing.assert_allclose(row[high], 1 - (1.5 * (1 - shares[high])) ** 1000, atol=2e-3)


def test_quantiles_of_a_soft_prior_by_numerical_integration():
    row = beta_quantiles(0.2, 0.2, 8)[8].astype(np.float64)
    # With x = u^5, x^-0.8 dx = 5 du: the integrand of the lower half is smooth.
    u = np.linspace(0, 1, 200_001)[:-1] + 2.5e-6
    half = 0.5 ** 0.2

    def mass(x):
        return np.mean(5 * x**0.2 * (1 - (u * x**0.2) ** 5) ** -0.8)

    total = 2 * mass(half**5)
    np.testing.assert_allclose([mass(x) / total for x in row[:4]], [1 / 16, 3 / 16, 5 / 16, 7 / 16], rtol=1e-5)


def smooth_oracle(maps):
    grid = np.arange(-2, 3)
    kernel = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 0.4**2))
    kernel /= kernel.sum()
    return np.array([[signal.correlate2d(m, kernel, mode="valid").max() for m in image] for image in maps])


def test_smoothed_occurrence_against_scipy(matches):
    matches(smoothed_occurrence, smooth_oracle, np.random.default_rng(8).uniform(size=(2, 2, 6, 7)))


def test_smoothing_counts_blobs_above_cells_and_leaves_the_border_out():
    maps = np.zeros((1, 4, 9, 9), np.float32)
    maps[0, 0, 4, 4] = maps[0, 1, 3:6, 3:6] = maps[0, 2, :, 0] = maps[0, 3] = 1
    np.testing.assert_allclose(jax.jit(smoothed_occurrence)(maps)[0], [0.845, 1.0, 0.0, 1.0], atol=1e-3)
    np.testing.assert_array_equal(smoothed_occurrence(maps, radius=0), 1.0)
    with pytest.raises(ValueError, match="a grid of 4x9; expected at least 5 cells a side for radius 2"):
        smoothed_occurrence(jnp.ones((1, 1, 4, 9)))
    with pytest.raises(ValueError, match=r"radius -1, deviation 0\.4"):
        smoothed_occurrence(jnp.ones((1, 1, 9, 9)), radius=-1)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"quantiles has shape \(5, 4\); .* with B=6"):
        occurrence(jnp.float32(PRESENCE), beta_quantiles(1.0, 1.0, 4))
    with pytest.raises(ValueError, match=r"alpha 0\.0, beta 1\.0, batch_size 3; expected all positive"):
        beta_quantiles(0.0, 1.0, 3)
