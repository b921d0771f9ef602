"""Losses of linear detectors against float64 oracles, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from partrep.losses import assignment_agreement, class_usage, decisiveness, orthogonality, query_diversity

RNG = np.random.default_rng(4)
SIMILARITY = RNG.normal(size=(2, 3, 2, 3))
TARGET = RNG.dirichlet(np.ones(6), size=(2, 3)).reshape(2, 3, 2, 3)
QUERIES = RNG.normal(size=(3, 5))
KERNEL = RNG.normal(size=(3, 2, 4))


def agreement_oracle(s):
    return -(TARGET * log_softmax(s.reshape(2, 3, 6) / 0.5, axis=2).reshape(TARGET.shape)).sum((2, 3)).mean(1)


WHERE = np.array([[True, False, True], [False, False, False]])


def owned_oracle(s):
    by_part = -(TARGET * log_softmax(s.reshape(2, 3, 6), axis=2).reshape(TARGET.shape)).sum((2, 3))
    return np.array([(by_part[0, 0] + by_part[0, 2]) / 2, 0.0])


def diversity_oracle(q):
    unit = q / np.linalg.norm(q, axis=1, keepdims=True)
    return np.linalg.norm(unit @ unit.T - np.eye(3)) ** 2


def decisiveness_oracle(s):
    share = softmax(s, axis=1)
    return -(share * np.log(share)).sum(1).mean((1, 2))


def usage_oracle(w):
    share = np.abs(w).sum(1) / np.abs(w).sum((1, 2))[:, None]
    return -(share * np.log(share)).sum(1).mean()


@pytest.mark.parametrize(
    "loss, oracle, x",
    [
        (lambda s: assignment_agreement(s, jnp.float32(TARGET), 0.5), agreement_oracle, SIMILARITY),
        (lambda s: assignment_agreement(s, jnp.float32(TARGET), where=WHERE), owned_oracle, SIMILARITY),
        (query_diversity, diversity_oracle, QUERIES),
        (decisiveness, decisiveness_oracle, SIMILARITY),
        (class_usage, usage_oracle, KERNEL),
    ],
    ids=["assignment_agreement", "of_some_parts", "query_diversity", "decisiveness", "class_usage"],
)
def test_value_and_gradient_against_oracle(loss, oracle, x, matches):
    matches(loss, oracle, x)


def test_the_target_gets_no_gradient():
    gradient = jax.jit(jax.grad(lambda m: assignment_agreement(jnp.float32(SIMILARITY), m).sum()))(jnp.float32(TARGET))
    np.testing.assert_array_equal(gradient, 0.0)


def test_parts_that_do_not_count_have_no_say_and_no_gradient():
    agreement = jax.jit(jax.value_and_grad(lambda s, m, w: assignment_agreement(s, m, where=w).sum()))
    s, m = jnp.float32(SIMILARITY), jnp.float32(TARGET)
    value, gradient = agreement(jnp.where(WHERE[..., None, None], s, jnp.nan), m, WHERE)
    np.testing.assert_allclose(value, assignment_agreement(s[:1, ::2], m[:1, ::2])[0], rtol=1e-5)  # masked as sliced
    np.testing.assert_array_equal(np.any(gradient != 0, axis=(2, 3)), WHERE)
    everything = assignment_agreement(s, m, where=np.ones((2, 3), bool))
    np.testing.assert_allclose(everything, assignment_agreement(s, m), rtol=1e-6)


def test_agreement_is_least_at_the_target_and_pulls_to_it():
    target = jnp.float32(TARGET)
    at_best = assignment_agreement(jnp.log(target), target)
    np.testing.assert_allclose(at_best, -(TARGET * np.log(TARGET)).sum((2, 3)).mean(1), rtol=1e-4)
    assert (assignment_agreement(jnp.float32(SIMILARITY), target) > at_best).all()
    one_region = jnp.zeros((1, 1, 1, 4)).at[0, 0, 0, 2].set(1.0)
    push = -jax.jit(jax.grad(lambda s: assignment_agreement(s, one_region).sum()))(jnp.zeros((1, 1, 1, 4)))
    np.testing.assert_allclose(push[0, 0, 0], [-0.25, -0.25, 0.75, -0.25], rtol=1e-5)


def test_diversity_is_orthogonality_over_pairs_and_ignores_lengths():
    q, diversity = np.float32(QUERIES), jax.jit(query_diversity)
    np.testing.assert_allclose(diversity(q), 9 * orthogonality(q), rtol=1e-5)
    np.testing.assert_allclose(diversity(q * np.float32([[1.0], [5.0], [0.1]])), diversity(q), rtol=1e-4)


@jax.jit
def all_losses(similarity, target, queries, kernel):
    agreement = assignment_agreement(similarity, target)
    return agreement, query_diversity(queries), decisiveness(similarity), class_usage(kernel)


def test_limits_of_the_entropies():
    part = np.array([[0, 2, 1], [1, 1, 0]])
    decided = np.float32(100 * (np.arange(3)[:, None, None] == part))[None].repeat(2, 0)
    one_class = np.float32(np.arange(4) == np.array([0, 2, 0])[:, None])[:, None].repeat(2, 1)
    low = all_losses(decided, np.float32(TARGET), np.eye(3, 5, dtype=np.float32), one_class)
    np.testing.assert_allclose(np.concatenate([np.ravel(x) for x in low[1:]]), 0.0, atol=1e-6)
    flat = all_losses(0 * decided, np.float32(TARGET), np.ones((3, 5), np.float32), 1 + 0 * one_class)
    for value, limit in zip(flat, (np.log(6), 3 * 2, np.log(3), np.log(4))):
        np.testing.assert_allclose(value, limit, rtol=1e-5)
    gradient = jax.jit(jax.grad(class_usage))(jnp.float32(one_class).at[1].set(0.0))
    assert np.isfinite(gradient).all()


def test_permuting_parts_changes_nothing():
    order = np.array([2, 0, 1])
    s, m, q, w = (np.float32(x) for x in (SIMILARITY, TARGET, QUERIES, KERNEL))
    for moved, kept in zip(all_losses(s[:, order], m[:, order], q[order], w[order]), all_losses(s, m, q, w)):
        np.testing.assert_allclose(moved, kept, rtol=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="target has shape"):
        assignment_agreement(jnp.ones((1, 2, 3, 3)), jnp.ones((1, 2, 3)))
    with pytest.raises(ValueError, match=r"where has shape \(2,\); expected \[B,K\] with B=1, K=2"):
        assignment_agreement(jnp.ones((1, 2, 3, 3)), jnp.ones((1, 2, 3, 3)), where=jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"temperature is 0\.0"):
        assignment_agreement(jnp.ones((1, 2, 3, 3)), jnp.ones((1, 2, 3, 3)), 0.0)
    with pytest.raises(ValueError, match="query_diversity: queries has shape"):
        query_diversity(jnp.ones((1, 2, 3)))
    with pytest.raises(ValueError, match="decisiveness: similarity has shape"):
        decisiveness(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="class_usage: kernel has shape"):
        class_usage(jnp.ones((2, 3)))
