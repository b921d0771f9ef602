"""Smooth and histogram average precision against float64 loops: ties, limits, blocks, parts, padding, corners."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import aligned_cosine, histogram_ap, smooth_ap

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(6)
X = RNG.normal(size=(7, 3))
LABELS = np.array([0, 1, 0, 2, 1, 0, 1])  # class 2 has no positive
EVERYBODY = np.ones(7, bool)


def similarities(x):
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def mean_over_queries(s, labels, query):
    losses = []
    for q in range(len(s)):
        candidates = [j for j in range(len(s)) if j != q]
        positive = [j for j in candidates if labels[j] == labels[q]]
        if positive:
            losses.append(query(s[q], positive, [j for j in candidates if j not in positive]))
    return np.mean(losses) if losses else 0.0


def smooth_query(temperature, s, positive, negative):
    def before(i, group):
        return sum(1 / (1 + np.exp((s[i] - s[j]) / temperature)) for j in group if j != i)

    right = [1 + before(i, positive) for i in positive]
    return 1 - np.mean([one / (one + before(i, negative)) for i, one in zip(positive, right)])


def histogram_query(bins, lowest, s, positive, negative):
    width, all_so_far, right_so_far, precision = (1 - lowest) / (bins - 1), 0.0, 0.0, 0.0

    def mass(m, group):
        return sum(max(0.0, 1 - abs(min(max(s[j], lowest), 1) - (1 - m * width)) / width) for j in group)

    for m in range(bins):
        right, wrong = mass(m, positive), mass(m, negative)
        right_so_far, all_so_far = right_so_far + right, all_so_far + right + wrong
        precision += right / len(positive) * (right_so_far / all_so_far if all_so_far else 0)
    return 1 - precision


def exact_query(s, positive, negative):
    """One less the average precision, by counting."""
    ranks = [(1 + sum(s[j] > s[i] for j in positive), 1 + sum(s[j] > s[i] for j in positive + negative)) for i in positive]
    return 1 - np.mean([one / other for one, other in ranks])


LOSSES = {
    "smooth_ap": (smooth_ap, {"temperature": 0.1}, functools.partial(smooth_query, 0.1)),
    "histogram_ap": (histogram_ap, {"bins": 9}, functools.partial(histogram_query, 9, -1)),
}


@functools.cache
def program(name, block=None):
    """Value and gradient; compiled once for seven examples."""
    loss, options, _ = LOSSES[name]
    compiled = jax.jit(jax.value_and_grad(lambda x, y, where: loss(x, y, where=where, block=block, **options)))
    return lambda x, y, where=EVERYBODY: compiled(jnp.float32(x), jnp.int32(y), where)


@pytest.mark.parametrize("name", LOSSES)
def test_against_oracle(name, matches):
    loss, options, query = LOSSES[name]
    labels = jnp.array(LABELS)
    matches(lambda x: loss(x, labels, **options), lambda x: mean_over_queries(similarities(x), LABELS, query), X)


def test_the_histogram_may_start_elsewhere():
    oracle = mean_over_queries(similarities(X), LABELS, functools.partial(histogram_query, 25, 0.0))
    fixed = jax.jit(lambda x: histogram_ap(x, jnp.array(LABELS), lowest=0.0))(jnp.float32(X))
    traced = jax.jit(lambda x, lowest: histogram_ap(x, jnp.array(LABELS), lowest=lowest))(jnp.float32(X), 0.0)
    assert float(fixed) == pytest.approx(oracle, rel=1e-4) and float(traced) == pytest.approx(oracle, rel=1e-4)


def test_as_the_temperature_falls_ranks_are_counted():
    value = jax.jit(lambda y: smooth_ap(jnp.float32(X), y, 1e-5))
    for _ in range(12):
        labels = RNG.integers(3, size=7)
        expected = mean_over_queries(similarities(X), labels, exact_query)
        assert float(value(jnp.int32(labels))) == pytest.approx(expected, abs=1e-5)


def test_a_tie_counts_half_in_ranks():
    """Query 0 sees its positive where the negatives are, 1 - 1 / (1 + 5 / 2); of query 1 all five are nearer, 1 - 1 / 6."""
    x = np.eye(3)[[0, 1, 1, 1, 1, 1, 1]]
    value = program("smooth_ap")(x, [0, 0, 1, 2, 3, 4, 5])[0]
    assert float(value) == pytest.approx((5 / 7 + 5 / 6) / 2, rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_perfect_ranking_costs_nothing_and_the_worst_the_most(name):
    near = np.repeat(np.eye(3)[:2], [3, 4], axis=0)
    assert float(program(name)(near, [0, 0, 0, 1, 1, 1, 1])[0]) < 1e-3
    apart = np.array([1, -1, 1, 1, 1, 1, 1.0])[:, None] * np.eye(3)[:1]  # its one positive is behind five others
    assert float(program(name)(apart, [0, 0, 1, 2, 3, 4, 5])[0]) > 0.6


@pytest.mark.parametrize("name", LOSSES)
def test_order_of_the_batch_does_not_matter(name):
    order = RNG.permutation(7)
    value, gradient = program(name)(X, LABELS)
    permuted, moved = program(name)(X[order], LABELS[order])
    assert float(permuted) == pytest.approx(float(value), rel=1e-5)
    np.testing.assert_allclose(moved, np.asarray(gradient)[order], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_blocks_equal_the_plain_form(name):
    """Three at a time, which does not divide seven, with and without padding."""
    where = np.array([True, True, True, True, True, False, False])
    for given in ((X, LABELS), (X, LABELS, where), (X, np.zeros(7))):
        for one, other in zip(program(name)(*given), program(name, block=3)(*given)):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_equals_slicing_and_gets_no_gradient(name):
    where = np.array([True, True, False, True, True, True, False])
    x = np.where(where[:, None], X, np.nan)
    expected = mean_over_queries(similarities(X[where]), LABELS[where], LOSSES[name][2])
    value, gradient = program(name)(x, LABELS, where)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[~where].any()


@pytest.mark.parametrize("name", LOSSES)
def test_corners_are_finite_and_nothing_to_compare_costs_nothing(name):
    """One class, no positives, nobody; duplicates and zero vectors, whose gradient is zero."""
    for labels, where in ((np.zeros(7), EVERYBODY), (np.arange(7), EVERYBODY), (LABELS, ~EVERYBODY)):
        value, gradient = program(name)(X, labels, where)
        assert float(value) == 0 and not np.asarray(gradient).any()
    x = np.stack([X[0], X[0], X[0], 0 * X[0], 0 * X[0], -X[0], X[1]])
    value, gradient = program(name)(x, LABELS)
    assert np.isfinite(float(value)) and np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[3:5], 0.0)


def test_temperatures_of_all_sizes():
    both = jax.jit(jax.value_and_grad(lambda x, t: smooth_ap(x, jnp.array(LABELS), t)))
    for temperature, expected in ((1e-4, exact_query), (1e4, functools.partial(smooth_query, 1e4))):
        value, gradient = both(jnp.float32(X), temperature)
        assert float(value) == pytest.approx(mean_over_queries(similarities(X), LABELS, expected), abs=1e-4)
        assert np.isfinite(gradient).all()


def test_parts_take_the_place_of_vectors():
    """Aligned parts, of which the second is nowhere present, are the vectors of the first."""
    z = jnp.stack([jnp.float32(X), jnp.float32(X[::-1])], axis=1)
    parts = z, jnp.array([[1.0, 0.0]] * 7)
    both = jax.jit(jax.value_and_grad(lambda p: smooth_ap(p, jnp.array(LABELS), 0.1, similarity=aligned_cosine, block=4)))
    value, (gradient, _) = both(parts)
    one, slope = program("smooth_ap")(X, LABELS)
    assert float(value) == pytest.approx(float(one), rel=1e-5)
    np.testing.assert_allclose(gradient[:, 0], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_blocks_need_less_memory_than_one_matrix_of_similarities(name):
    loss, batch = LOSSES[name][0], 1024
    both = jax.jit(jax.value_and_grad(lambda x, y: loss(x, y, block=8)))
    given = jax.ShapeDtypeStruct((batch, 4), jnp.float32), jax.ShapeDtypeStruct((batch,), jnp.int32)
    assert both.lower(*given).compile().memory_analysis().temp_size_in_bytes < batch * batch  # a quarter of it


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: smooth_ap(X, LABELS[:3]), "embeddings has shape"),
        (lambda: smooth_ap(X, LABELS, temperature=0.0), "smooth_ap: temperature is 0.0; expected above 0"),
        (lambda: smooth_ap(X, LABELS, block=0), "smooth_ap: block is 0; expected at least 1"),
        (lambda: histogram_ap(X, LABELS, where=np.ones(3, bool)), "where has shape"),
        (lambda: histogram_ap(X, LABELS, bins=1), "bins is 1"),
        (lambda: histogram_ap(X, LABELS, lowest=1.0), "lowest is 1.0; expected below 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
