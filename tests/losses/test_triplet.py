"""Triplets against cubic loops in float64, also where similarities are equal and where half of the batch is one class."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import euclidean_similarity, triplet

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(13)
X, LABELS = RNG.normal(size=(8, 3)), np.array([0, 1, 0, 2, 1, 0, 3, 1])
MINING = ["all", "semi_hard", "hard"]


def triplets(d, labels, mining):
    """The triplets (a, p, n) of a matrix of squared distances."""
    for a in range(len(d)):
        positives = [p for p in range(len(d)) if p != a and labels[p] == labels[a]]
        negatives = [n for n in range(len(d)) if labels[n] != labels[a]]
        if mining == "all":
            yield from itertools.product([a], positives, negatives)
        elif mining == "semi_hard":
            for p in positives:
                farther = [n for n in negatives if d[a, n] > d[a, p]]
                if farther:
                    yield a, p, min(farther, key=lambda n: d[a, n])
        elif positives and negatives:
            yield a, max(positives, key=lambda p: d[a, p]), min(negatives, key=lambda n: d[a, n])


def oracle(d, labels, margin, mining, average):
    costs = [max(0.0, margin + d[a, p] - d[a, n]) / 2 for a, p, n in triplets(d, labels, mining)]
    if average == "nonzero":
        costs = [c for c in costs if c > 0]
    return np.mean(costs) if costs else 0.0


def squared_distances(x):
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("mining", MINING)
def test_against_loops_on_unit_vectors_and_on_vectors_as_they_are(mining, matches):
    def loss(x):
        return jnp.stack([
            triplet(x, LABELS, 0.4, mining),
            triplet(x, LABELS, 1.5, mining, "nonzero", similarity=euclidean_similarity),
        ])

    def wanted(x):
        distances = squared_distances(unit(x)), squared_distances(x)
        return np.array([
            oracle(distances[0], LABELS, 0.4, mining, "all"),
            oracle(distances[1], LABELS, 1.5, mining, "nonzero"),
        ])

    matches(loss, wanted, X)


@functools.cache
def of_matrix(mining, average):
    """Value and gradient in the similarities themselves: the batch's rows are rows of the matrix."""
    return jax.jit(jax.value_and_grad(lambda s, labels: triplet(s, labels, 0.5, mining, average, similarity=lambda a, _: a)))


@pytest.mark.parametrize("average", ["all", "nonzero"])
def test_all_counts_right_where_many_similarities_are_equal(average):
    """Similarities in quarters and a margin of half: many triplets lie exactly on the margin, where they cost nothing."""
    s, labels = RNG.integers(-4, 5, (24, 24)) / 4, RNG.integers(0, 4, 24)
    value, gradient = of_matrix("all", average)(jnp.float32(s), labels)
    cost, count, weights = 0.0, 0, np.zeros(s.shape)
    for a, p, n in triplets(2 - 2 * s, labels, "all"):
        term = 0.25 + s[a, n] - s[a, p]
        count += average == "all" or term > 0
        if term > 0:
            cost, weights[a, n], weights[a, p] = cost + term, weights[a, n] + 1, weights[a, p] - 1
    np.testing.assert_allclose(value, cost / count, rtol=1e-6)
    np.testing.assert_allclose(gradient, weights / count, rtol=1e-6)


@pytest.mark.parametrize("mining", MINING[1:])
def test_mined_triplets_where_many_similarities_are_equal(mining):
    s, labels = RNG.integers(-4, 5, (24, 24)) / 4, RNG.integers(0, 4, 24)
    value, gradient = of_matrix(mining, "nonzero")(jnp.float32(s), labels)
    np.testing.assert_allclose(value, oracle(2 - 2 * s, labels, 0.5, mining, "nonzero"), rtol=1e-6)
    np.testing.assert_allclose(gradient.sum(1), 0.0, atol=1e-6)


def test_all_keeps_its_digits_where_similarities_are_large_and_differ_little():
    """Two classes of 100 with similarities of a thousand, exact in float32: sums of a million small costs."""
    labels, s = np.arange(200) % 2, 1000 + RNG.integers(0, 16, (200, 200)) / 64
    cost = count = 0.0
    for a in range(200):
        same, other = s[a][(labels == labels[a]) & (np.arange(200) != a)], s[a][labels != labels[a]]
        cost += np.maximum(0, 1 / 64 + other - same[:, None]).sum()
        count += len(same) * len(other)
    value = jax.jit(lambda s: triplet(s, labels, 1 / 32, similarity=lambda a, _: a, block=80))(jnp.float32(s))
    np.testing.assert_allclose(value, cost / count, rtol=1e-6)


def test_by_hand():
    x, labels = jnp.array([[0.0], [1.0], [2.0], [1.5]]), jnp.array([0, 0, 1, 1])
    # squared distances of 0: 1 | 4, 2.25; of 1: 1 | 1, 0.25; of 2: 0.25 | 4, 1; of 1.5: 0.25 | 2.25, 0.25
    every = jax.jit(lambda x: {m: triplet(x, labels, 1.0, m, similarity=euclidean_similarity) for m in MINING})
    found = {m: float(value) for m, value in every(x).items()}
    assert found["all"] == pytest.approx((0 + 0 + 1 + 1.75 + 0 + 0.25 + 0 + 1) / 2 / 8, rel=1e-5)
    # farther negatives: 2.25 of 0, none of 1 (1 and 0.25 are not farther than 1), 1 of 2, 2.25 of 1.5
    assert found["semi_hard"] == pytest.approx((0 + 0.25 + 0) / 2 / 3, rel=1e-5)
    assert found["hard"] == pytest.approx((0 + 1.75 + 0.25 + 1) / 2 / 4, rel=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="mining is 'easy'; expected one of all, semi_hard, hard"):
        triplet(jnp.ones((4, 2)), jnp.zeros(4, int), mining="easy")
    with pytest.raises(ValueError, match="average is 'sum'; expected one of all, nonzero"):
        triplet(jnp.ones((4, 2)), jnp.zeros(4, int), average="sum")
