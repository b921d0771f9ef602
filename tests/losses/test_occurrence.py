"""The occurrence prior: quantiles, the released degenerate prior, masked batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta

from partrep.losses import occurrence
from partrep.losses.occurrence import beta_quantiles

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


def test_a_symmetric_prior_has_symmetric_quantiles():
    row = beta_quantiles(0.2, 0.2, 9)[9]
    np.testing.assert_allclose(row + row[::-1], 1.0, atol=1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"quantiles has shape \(5, 4\); .* with B=6"):
        occurrence(jnp.float32(PRESENCE), beta_quantiles(1.0, 1.0, 4))
    with pytest.raises(ValueError, match=r"alpha 0\.0, beta 1\.0, batch_size 3; expected all positive"):
        beta_quantiles(0.0, 1.0, 3)
