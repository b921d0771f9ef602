"""Alignment and presence of exclusive parts against float64 oracles, also where parts share nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from partrep.losses import alignment, softmax_cross_entropy, tanh_presence
from partrep.losses.exclusive import squared_log

RNG = np.random.default_rng(4)
FIRST, SECOND = softmax(RNG.normal(0, 2, (2, 2, 3, 2, 2)), axis=2)
SCORES = RNG.uniform(0.01, 0.4, (3, 4))


def disagreement(a, b):
    """`-mean_n log <a_n, b_n>` by loops."""
    out = np.zeros(len(a))
    for i, y, x in np.ndindex(len(a), *a.shape[2:]):
        out[i] -= np.log(a[i, :, y, x] @ b[i, :, y, x] + 1e-12) / a[0, 0].size
    return out


def test_alignment_against_loops_and_with_the_other_view_held_fixed(matches):
    """Both directions have the same value; the gradient is that of one of them, the other view being constant."""
    target = jnp.float32(SECOND)
    for loss in (lambda a: alignment(a, target), lambda a: alignment(target, a)):
        np.testing.assert_allclose(loss(jnp.float32(FIRST)), disagreement(FIRST, SECOND), rtol=1e-5)
    constant = 0.5 * jnp.float32(disagreement(FIRST, SECOND))
    matches(lambda a: alignment(a, target) - constant, lambda a: 0.5 * disagreement(a, SECOND), FIRST)
    both = jax.jit(jax.grad(lambda a: alignment(a, a).sum()))(jnp.float32(FIRST))
    np.testing.assert_allclose(both, -FIRST / (FIRST * FIRST).sum(1, keepdims=True) / 4, rtol=1e-4)


def test_alignment_is_zero_for_agreement_on_one_part_and_log_k_for_uniform_shares():
    one = jax.nn.one_hot(jnp.arange(4).reshape(1, 2, 2), 5, axis=1)
    values = jax.jit(alignment)(*[jnp.concatenate([one, jnp.full(one.shape, 0.2)])] * 2)
    np.testing.assert_allclose(values, [0.0, np.log(5)], atol=1e-6)


def test_views_that_share_nothing_pull_their_logits_with_a_bounded_force():
    logits = jnp.array([[30.0, 0.0], [0.0, 30.0]]).reshape(2, 1, 2, 1, 1)
    shares = jax.jit(lambda o: alignment(*jax.nn.softmax(o, axis=2)).sum())
    pull = jax.jit(jax.grad(shares))
    gradient = pull(logits)
    assert np.isfinite(gradient).all() and 0 < np.abs(gradient).max() <= 0.5
    assert np.isfinite(pull(4 * logits)).all()


def test_tanh_presence_against_oracle_and_masked(matches):
    def oracle(s):
        return -np.mean(np.log(np.tanh(s.sum(0)) + 1e-8))

    matches(tanh_presence, oracle, SCORES)
    where = jnp.array([True, False, True])
    filled = jnp.float32(SCORES).at[1].set(jnp.nan)
    np.testing.assert_allclose(tanh_presence(filled, where), oracle(SCORES[[0, 2]]), rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(jax.jit(jax.grad(tanh_presence))(filled, where))[1], 0.0)


def test_a_part_that_never_occurs_costs_the_most_and_its_gradient_is_finite():
    value, gradient = jax.jit(jax.value_and_grad(tanh_presence))(jnp.zeros((2, 1)))
    assert float(value) == pytest.approx(18.42, abs=0.01) and np.isfinite(gradient).all()
    logits = jnp.array([[60.0, 0.0]])  # a share of 1e-26: the force on its logit is bounded
    force = jax.jit(jax.grad(lambda o: tanh_presence(jax.nn.softmax(o))))(logits)
    assert np.isfinite(force).all() and np.abs(force).max() <= 1


def test_squared_log_makes_softmax_a_ratio_of_squares(matches):
    logits = np.array([[0.5, 2.0, 1.0]])
    matches(squared_log, lambda o: np.log(1 + o**2), logits)
    share = (1 + logits**2) / (1 + logits**2).sum()
    loss = softmax_cross_entropy(squared_log(jnp.float32(logits)), jnp.array([1]))
    np.testing.assert_allclose(loss, -np.log(share[:, 1]), rtol=1e-5)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="alignment: assignment2 has shape"):
        alignment(jnp.ones((1, 2, 3, 3)), jnp.ones((1, 3, 3, 3)))
    with pytest.raises(ValueError, match=r"tanh_presence: where has shape \(3,\)"):
        tanh_presence(jnp.ones((2, 4)), jnp.ones(3, bool))
