"""GroupDRO: against a float64 loop over batches, its gradient, groups that a batch lacks, and where it ends up."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses.group_dro import group_dro, start_group_weights

run = jax.jit(group_dro, static_argnums=3)


def oracle(losses, groups, weights, step_size):
    """Algorithm 1 of the source on a batch."""
    of_group = np.zeros(len(weights))
    for g in range(len(weights)):
        members = [loss for loss, group in zip(losses, groups) if group == g]
        of_group[g] = sum(members) / len(members) if members else 0.0
    moved = [q * np.exp(step_size * loss) for q, loss in zip(weights, of_group)]
    weights = np.array(moved) / sum(moved)
    return float(sum(weights * of_group)), weights


def test_a_run_of_batches_is_the_algorithm():
    generator = np.random.default_rng(0)
    weights, wanted = start_group_weights(3), np.full(3, 1 / 3)
    for _ in range(20):
        losses, groups = generator.exponential(2.0, 7), generator.choice(3, 7, p=[0.7, 0.25, 0.05])
        loss, weights = run(jnp.float32(losses), groups, weights, 0.1)
        value, wanted = oracle(losses, groups, wanted, 0.1)
        np.testing.assert_allclose(loss, value, rtol=1e-5)
        np.testing.assert_allclose(weights, wanted, rtol=1e-4)
    assert weights.dtype == jnp.float32 and float(jnp.ptp(weights)) > 0.05


def test_the_gradient_goes_to_the_losses_under_the_new_weights_alone(matches):
    groups, start = np.array([0, 0, 1, 0]), jnp.array([0.25, 0.75])
    losses = np.array([0.5, 1.5, 3.0, 1.0])
    _, weights = oracle(losses, groups, np.array(start), 0.5)
    loss = functools.partial(group_dro, groups=groups, weights=start, step_size=0.5)

    def fixed(x):  # the weights being what they are
        return weights[0] * x[groups == 0].mean() + weights[1] * x[groups == 1].mean()

    matches(lambda x: loss(x)[0], fixed, losses)


def test_a_group_that_the_batch_lacks_counts_nothing():
    loss, weights = run(jnp.array([2.0, 4.0]), np.array([1, 1]), jnp.array([0.5, 0.5]), 1.0)
    assert float(weights[1]) == pytest.approx(np.exp(3) / (1 + np.exp(3)))
    assert float(loss) == pytest.approx(3 * float(weights[1]), rel=1e-6)


def test_masking_is_leaving_out():
    losses, groups = jnp.array([1.0, jnp.nan, 3.0]), np.array([0, 1, 1])
    start = start_group_weights(2)
    masked = jax.jit(jax.value_and_grad(lambda x: group_dro(x, groups, start, 0.5, jnp.array([True, False, True]))[0]))
    value, gradient = masked(losses)
    assert float(value) == pytest.approx(oracle([1.0, 3.0], [0, 1], [0.5, 0.5], 0.5)[0], rel=1e-6)
    assert np.isfinite(gradient).all() and gradient[1] == 0


def test_weights_stay_finite_and_a_forgotten_group_comes_back():
    weights = start_group_weights(2)
    for losses in ([0.0, 1e4], [1e4, 0.0], [1e4, 0.0]):
        loss, weights = run(jnp.array(losses), np.array([0, 1]), weights, 1.0)
        assert np.isfinite(loss) and np.isfinite(weights).all()
    np.testing.assert_allclose(weights, [1.0, 0.0], atol=1e-6)


def test_a_step_size_of_nothing_keeps_the_weights_and_wrong_ones_are_named():
    start = jnp.array([0.25, 0.75])
    loss, weights = run(jnp.array([1.0, 5.0]), np.array([0, 1]), start, 0.0)
    assert float(loss) == pytest.approx(4.0) and weights.tolist() == pytest.approx([0.25, 0.75])
    with pytest.raises(ValueError, match="step_size is -1"):
        group_dro(jnp.ones(2), np.array([0, 1]), start, -1)
    with pytest.raises(ValueError, match="group_dro: groups has shape"):
        group_dro(jnp.ones(2), np.array([0, 1, 1]), start)
