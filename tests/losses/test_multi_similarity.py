"""Multi-similarity against float64 loops, its selection of pairs, and extreme sharpness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import multi_similarity

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(14)
X, LABELS = RNG.normal(size=(8, 3)), np.array([0, 1, 0, 2, 1, 0, 3, 1])


def loop(s, labels, alpha, beta, base, epsilon):
    total = 0.0
    for i in range(len(s)):
        positives = [s[i, j] for j in range(len(s)) if j != i and labels[j] == labels[i]]
        negatives = [s[i, j] for j in range(len(s)) if labels[j] != labels[i]]
        if epsilon is not None:
            near = max(negatives, default=-np.inf) + epsilon, min(positives, default=np.inf) - epsilon
            positives, negatives = [p for p in positives if p < near[0]], [n for n in negatives if n > near[1]]
        total += np.log(1 + sum(np.exp(-alpha * (p - base)) for p in positives)) / alpha
        total += np.log(1 + sum(np.exp(beta * (n - base)) for n in negatives)) / beta
    return total / len(s)


def cosines(x):
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    return units @ units.T


@pytest.mark.parametrize("epsilon", [0.1, None])
def test_against_loops(epsilon, matches):
    matches(
        lambda x: multi_similarity(x, LABELS, 2.0, 10.0, 0.5, epsilon),
        lambda x: loop(cosines(x), LABELS, 2.0, 10.0, 0.5, epsilon),
        X,
    )


def test_only_pairs_near_the_other_kind_are_chosen():
    s = np.array([[1.0, 0.9, 0.3, 0.5, 0.1], *np.zeros((4, 5))])
    labels = np.array([0, 0, 0, 1, 1])  # of anchor 0: positives 0.9 and 0.3, negatives 0.5 and 0.1

    def first(s):
        return multi_similarity(s, labels, epsilon=0.1, similarity=lambda a, _: a)

    value, gradient = jax.jit(jax.value_and_grad(first))(jnp.float32(s))
    np.testing.assert_array_equal(np.sign(gradient)[0], [0, 0, -1, 1, 0])  # 0.3 < 0.5 + 0.1 and 0.5 > 0.3 - 0.1 only
    np.testing.assert_allclose(value, loop(s, labels, 2.0, 50.0, 0.5, 0.1), rtol=1e-5)


@pytest.mark.parametrize("sharpness", [1e-4, 1e4])
def test_extreme_sharpness_is_finite(sharpness):
    step = jax.jit(jax.value_and_grad(lambda x, a: multi_similarity(x, LABELS, a, a, epsilon=None)))
    value, gradient = step(jnp.float32(X), sharpness)
    if sharpness > 1:  # the hinge of the worst of each kind
        s, same = cosines(X), LABELS[:, None] == LABELS
        worst = np.where(same & ~np.eye(8, dtype=bool), 0.5 - s, 0).max(1) + np.where(~same, s - 0.5, 0).max(1)
        np.testing.assert_allclose(value, worst.mean(), rtol=1e-3)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_a_sharpness_of_zero_is_named():
    with pytest.raises(ValueError, match="multi_similarity: beta is 0; expected above 0"):
        multi_similarity(jnp.ones((4, 2)), jnp.zeros(4, int), beta=0)
