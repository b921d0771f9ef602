"""Standardised codes against float64, in training and after."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.bottlenecks import Standardised


def test_standardised_by_the_batch_in_training_and_by_running_statistics_after():
    vectors = np.asarray(jax.random.normal(jax.random.key(5), (16, 3, 4))) * 0.02 + 7.0
    module = Standardised()
    codes, state = module.init_with_output(jax.random.key(0), jnp.asarray(vectors), train=True)
    mean, variance = vectors.astype(np.float64).mean(0), vectors.astype(np.float64).var(0)
    np.testing.assert_allclose(codes, (vectors - mean) / np.sqrt(variance + 1e-6), rtol=2e-3, atol=2e-3)
    _, state = module.apply(state, jnp.asarray(vectors), train=True, mutable=["batch_stats"])
    kept = state["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(kept["mean"], 0.1 * mean.reshape(-1), rtol=1e-5)
    other = vectors[:2] + 1.0
    expected = (other - 0.1 * mean) / np.sqrt(0.9 + 0.1 * variance + 1e-6)
    np.testing.assert_allclose(module.apply(state, jnp.asarray(other), train=False), expected, rtol=1e-4)


def test_standardised_projects_every_part_by_its_own_matrix_first():
    vectors = np.random.default_rng(1).normal(3.0, 0.5, (64, 2, 5)).astype(np.float32)
    codes, variables = Standardised(width=3).init_with_output(jax.random.key(0), jnp.asarray(vectors), True)
    kernel = np.asarray(variables["params"]["projection"], np.float64)
    narrow = np.stack([vectors[:, k].astype(np.float64) @ kernel[k] for k in range(2)], 1)
    assert kernel.shape == (2, 5, 3)
    np.testing.assert_allclose(codes, (narrow - narrow.mean(0)) / narrow.std(0), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("setting", [{"epsilon": 0}, {"width": 0}])
def test_standardised_refuses_settings_that_are_not_positive(setting):
    with pytest.raises(UserError, match="expected positive ones"):
        Standardised(**setting).init(jax.random.key(0), jnp.ones((2, 1, 3)), True)
