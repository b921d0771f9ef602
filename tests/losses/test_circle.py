"""Circle loss against float64 loops with its weights held fixed, at a hand-worked anchor and extreme scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import circle

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(15)
X, LABELS = RNG.normal(size=(8, 3)), np.array([0, 1, 0, 2, 1, 0, 3, 1])


def cosines(x):
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    return units @ units.T


def loop(s, weights_of, labels, margin, gamma):
    costs = []
    for i in range(len(s)):
        positives = [j for j in range(len(s)) if j != i and labels[j] == labels[i]]
        negatives = [j for j in range(len(s)) if labels[j] != labels[i]]
        if positives and negatives:
            of = weights_of[i]
            pull = sum(np.exp(-gamma * max(0, 1 + margin - of[p]) * (s[i, p] - 1 + margin)) for p in positives)
            push = sum(np.exp(gamma * max(0, of[n] + margin) * (s[i, n] - margin)) for n in negatives)
            costs.append(np.log(1 + pull * push))
    return np.mean(costs)


def test_against_loops_with_the_weights_held_fixed(matches):
    fixed = cosines(X)
    matches(lambda x: circle(x, LABELS, 0.25, 4.0), lambda x: loop(cosines(x), fixed, LABELS, 0.25, 4.0), X)


def test_anchors_without_both_kinds_are_left_out_of_the_mean():
    s = jnp.array([[0.0, 0.5, 0.25], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    labels, where = jnp.array([0, 0, 1]), jnp.ones(3, bool)
    # anchor 0: exp(-(1 - 0.5)(0.5 - 1)) exp(0.25 * 0.25); anchor 1: exp(1) exp(0); anchor 2 has no positive
    wanted = (np.log1p(np.exp(0.25 + 0.0625)) + np.log1p(np.exp(1.0))) / 2
    value = jax.jit(lambda s: circle(s, labels, 0.0, 1.0, where, similarity=lambda a, _: a))(s)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)


@pytest.mark.parametrize("gamma", [1e-6, 1e4])
def test_extreme_scales_are_finite(gamma):
    value, gradient = jax.jit(jax.value_and_grad(lambda x, g: circle(x, LABELS, 0.4, g)))(jnp.float32(X), gamma)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    if gamma < 1:  # every pair counts alike
        positives = [(LABELS == c).sum() - 1 for c in LABELS]
        np.testing.assert_allclose(value, np.mean([np.log1p(n * (7 - n)) for n in positives if n]), rtol=1e-4)


def test_a_scale_of_zero_is_named():
    with pytest.raises(ValueError, match="circle: gamma is 0; expected above 0"):
        circle(jnp.ones((4, 2)), jnp.zeros(4, int), gamma=0)
