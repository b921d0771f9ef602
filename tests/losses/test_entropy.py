"""Assignment entropy against scipy; exact zeros have finite gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import entr

from partrep.losses import assignment_entropy

SHARES = np.random.default_rng(2).dirichlet(np.ones(4), size=(2, 3, 3)).transpose(0, 3, 1, 2)


def test_against_oracle(matches):
    matches(assignment_entropy, lambda a: entr(a).sum(1).mean((1, 2)), SHARES)


def test_background_is_one_more_part():
    split = assignment_entropy(jnp.float32(SHARES[:, :3]), jnp.float32(SHARES[:, 3]))
    np.testing.assert_allclose(split, assignment_entropy(jnp.float32(SHARES)), rtol=1e-6)


def test_bounds():
    np.testing.assert_allclose(assignment_entropy(jnp.full((1, 5, 2, 2), 0.2)), np.log(5), rtol=1e-6)
    hard = jax.nn.one_hot(jnp.zeros((1, 2, 2), int), 5, axis=1)
    assert float(assignment_entropy(hard)[0]) == 0


def test_a_saturated_softmax_has_finite_gradients():
    logits = jnp.zeros((1, 2, 1, 1)).at[0, 0].set(1000.0)
    gradient = jax.jit(jax.grad(lambda s: assignment_entropy(jax.nn.softmax(s, axis=1)).sum()))(logits)
    assert np.isfinite(gradient).all()


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"background .* with B=2, h=3, w=3"):
        assignment_entropy(jnp.ones((2, 3, 3, 3)), jnp.ones((2, 3, 4)))
