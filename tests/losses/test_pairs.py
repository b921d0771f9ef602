"""Similarities against loops; and what every pair loss must do: blocks, padding, order, and batches with nothing in them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import (
    SIMILARITIES,
    aligned_cosine,
    circle,
    contrastive,
    cosine,
    euclidean_similarity,
    multi_similarity,
    supervised_contrastive,
    triplet,
)
from partrep.losses.pairs import masked_logsumexp

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(11)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(5, 4))
BATCH, LABELS = RNG.normal(size=(9, 4)), np.array([0, 1, 0, 2, 1, 0, 2, 3, 1])
ALL = np.ones(9, bool)
LOSSES = {
    "contrastive": contrastive,
    "contrastive, nonzero": functools.partial(contrastive, average="nonzero"),
    "supervised_contrastive": supervised_contrastive,
    "multi_similarity": multi_similarity,
    "multi_similarity, all pairs": functools.partial(multi_similarity, epsilon=None),
    "circle": circle,
    "triplet, all": triplet,
    "triplet, semi-hard": functools.partial(triplet, mining="semi_hard", average="nonzero"),
    "triplet, hard": functools.partial(triplet, mining="hard"),
}
NEEDS_BOTH = [name for name in LOSSES if name.startswith(("circle", "triplet")) or name == "multi_similarity"]


@functools.cache
def program(block=None):
    def everything(x, labels, where):
        def both(loss):
            return jax.value_and_grad(lambda a: loss(a, labels, where=where, block=block))(x)

        return {name: both(loss) for name, loss in LOSSES.items()}

    return jax.jit(everything)


def values(x, labels, where=ALL, block=None):
    found = program(block)(jnp.float32(x), jnp.int32(labels), jnp.asarray(where))
    return {name: (float(value), np.asarray(gradient)) for name, (value, gradient) in found.items()}


def same(first, second, rtol=2e-5, atol=2e-6):
    np.testing.assert_allclose(first[0], second[0], rtol=rtol, atol=atol)
    np.testing.assert_allclose(first[1], second[1], rtol=rtol, atol=atol)


def cosine_loop(x, y):
    return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in y] for a in x])


def test_cosine_against_loops(matches):
    matches(lambda x: cosine(x, jnp.float32(Y)) ** 2, lambda x: cosine_loop(x, Y) ** 2, X)
    matches(lambda y: cosine(jnp.float32(X), y) ** 2, lambda y: cosine_loop(X, y) ** 2, Y)


def test_euclidean_similarity_against_loops_and_far_from_the_origin(matches):
    def oracle(x):
        return np.array([[1 - 0.5 * sum((a - b) ** 2) for b in Y] for a in x])

    matches(lambda x: euclidean_similarity(x, jnp.float32(Y)), oracle, X)
    far = euclidean_similarity(jnp.float32(X + 512), jnp.float32(Y + 512))
    np.testing.assert_allclose(far, oracle(X), atol=1e-3)
    units = Y / np.linalg.norm(Y, axis=1, keepdims=True)
    np.testing.assert_allclose(euclidean_similarity(units, units), cosine(Y, Y), atol=1e-6)


def aligned_loop(z, m, z2, m2):
    out = np.zeros((len(z), len(z2)))
    for i, j in np.ndindex(*out.shape):
        weights = [m[i, k] * m2[j, k] for k in range(m.shape[1])]
        cosines = [cosine_loop(z[i, k : k + 1], z2[j, k : k + 1])[0, 0] for k in range(m.shape[1])]
        out[i, j] = np.dot(weights, cosines) / sum(weights)
    return out


def test_aligned_cosine_against_loops_in_vectors_and_in_presence(matches):
    z, z2 = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(3, 3, 4))
    m, m2 = RNG.uniform(0.1, 1, (2, 3)), RNG.uniform(0.1, 1, (3, 3))

    def split(a):
        return a[..., :4], a[..., 4]

    others = (jnp.float32(z2), jnp.float32(m2))
    both = np.concatenate([z, m[..., None]], axis=-1)
    matches(lambda a: aligned_cosine(split(a), others) ** 2, lambda a: aligned_loop(*split(a), z2, m2) ** 2, both)


def test_one_part_that_is_there_is_the_cosine_and_absent_parts_are_not_compared():
    vectors = jnp.float32(RNG.normal(size=(4, 2, 3)))
    one = jnp.array([[0.5, 0.0], [1.0, 0.0], [0.01, 0.0], [0.0, 1.0]])
    alike = aligned_cosine((vectors, one), (vectors, one))
    np.testing.assert_allclose(alike[:3, :3], cosine(vectors[:3, 0], vectors[:3, 0]), atol=1e-5)
    np.testing.assert_array_equal(alike[3, :3], 0.0)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities_of_zeros_and_absent_parts_have_no_gradient(name):
    x = (jnp.zeros((2, 3, 4)), jnp.zeros((2, 3))) if name == "aligned_cosine" else jnp.zeros((2, 4))
    gradient = jax.jit(jax.grad(lambda a: SIMILARITIES[name](a, a).sum()))(x)
    jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0.0), gradient)


def test_squared_distance_of_parts_is_the_mean_over_shared_parts():
    z, m = RNG.normal(size=(2, 3, 4)), RNG.uniform(size=(2, 3))
    units, weights = z / np.linalg.norm(z, axis=-1, keepdims=True), m[0] * m[1]
    wanted = np.average(((units[0] - units[1]) ** 2).sum(-1), weights=weights)
    parts = (jnp.float32(z), jnp.float32(m))
    loss = jax.jit(functools.partial(contrastive, similarity=aligned_cosine))(parts, jnp.zeros(2, int))
    np.testing.assert_allclose(loss, 0.5 * wanted, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_blocks_equal_the_plain_form(name):
    where = np.arange(9) != 4
    same(values(BATCH, LABELS, where, block=4)[name], values(BATCH, LABELS, where)[name])
    assert values(BATCH, LABELS)[name][0] > 0


@pytest.mark.parametrize("name", LOSSES)
def test_order_does_not_matter_and_what_is_masked_is_not_there(name):
    order = RNG.permutation(9)
    value, gradient = values(BATCH, LABELS)[name]
    same(values(BATCH[order], LABELS[order])[name], (value, gradient[order]))
    padded, where = np.concatenate([BATCH[:6], np.full((3, 4), np.nan)]), np.arange(9) < 6
    value, gradient = values(padded, LABELS, where)[name]
    np.testing.assert_array_equal(gradient[6:], 0.0)
    same((value, gradient[:6]), values(BATCH[:6], LABELS[:6], ALL[:6])[name])


CORNERS = {
    "nothing": (BATCH, LABELS, ~ALL),
    "one example": (BATCH, LABELS, np.arange(9) == 2),
    "duplicates": (np.ones((9, 4)), LABELS, ALL),
    "zeros": (np.zeros((9, 4)), LABELS, ALL),
    "opposites": (np.sign(BATCH[:, :1]) * BATCH[:1], LABELS, ALL),
    "huge": (1e15 * BATCH, LABELS, ALL),
    "tiny": (1e-15 * BATCH, LABELS, ALL),
    "no positives": (BATCH, np.arange(9), ALL),
    "one class": (BATCH, np.zeros(9), ALL),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_corners_are_finite_and_cost_nothing_where_nothing_is_compared(corner):
    for name, (value, gradient) in values(*CORNERS[corner]).items():
        assert np.isfinite(value) and np.isfinite(gradient).all() and value >= 0, name
        nothing = corner in ("nothing", "one example")
        lacks_one = corner in ("no positives", "one class") and name in NEEDS_BOTH
        if nothing or lacks_one or (corner == "no positives" and name == "supervised_contrastive"):
            assert value == 0 and not gradient.any(), name
        if corner in ("zeros", "tiny"):
            assert not gradient.any(), name


@pytest.mark.parametrize("similarity", [cosine, euclidean_similarity])
def test_extreme_temperatures_are_finite_in_a_compiled_program(similarity):
    """Where a compiler may round the largest logit otherwise than the maximum that is taken from it."""
    x = jnp.float32(BATCH)
    for temperature in (1e-10, 1e-20, 1e-30):
        losses = {
            "supervised_contrastive": lambda a, t: supervised_contrastive(a, LABELS, t, similarity=similarity),
            "multi_similarity": lambda a, t: multi_similarity(a, LABELS, 1 / t, 1 / t, epsilon=None, similarity=similarity),
        }
        for name, loss in losses.items():
            value, gradient = jax.jit(jax.value_and_grad(loss))(x, temperature)
            assert np.isfinite(value) and value >= 0 and np.isfinite(gradient).all(), (name, temperature)


def test_masked_examples_cost_no_digits_far_from_the_origin():
    real = BATCH[:6] + 1000
    padded = np.concatenate([real, np.full((3, 4), np.nan)])
    loss = functools.partial(triplet, mining="hard", margin=20.0, similarity=euclidean_similarity)
    both = jax.jit(jax.value_and_grad(loss))
    value, gradient = both(jnp.float32(padded), LABELS, where=np.arange(9) < 6)
    wanted, wanted_gradient = both(jnp.float32(real), LABELS[:6])
    np.testing.assert_allclose(value, wanted, rtol=1e-4)
    np.testing.assert_allclose(gradient[:6], wanted_gradient, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(gradient[6:], 0.0)


def test_one_example_is_a_batch():
    assert all(value == 0 and not gradient.any() for value, gradient in values(BATCH[:1], [4], [True]).values())


@pytest.mark.parametrize("loss", [supervised_contrastive, triplet])
def test_blocks_never_hold_all_pairs_forward_or_backward(loss):
    shapes = jax.ShapeDtypeStruct((2048, 8), jnp.float32), jax.ShapeDtypeStruct((2048,), jnp.int32)
    compiled = jax.jit(jax.grad(functools.partial(loss, block=16))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 2048**2 / 4  # a quarter of one [B,B] matrix


def test_masked_logsumexp_of_far_values_and_of_nothing():
    x = jnp.array([[1000.0, 1001.0, 5.0], [-1000.0, 7.0, 8.0], [1.0, 2.0, 3.0]])
    counts = jnp.array([[True, True, False], [True, False, False], [False, False, False]])
    value, gradient = masked_logsumexp(x, counts), jax.jit(jax.grad(lambda a: masked_logsumexp(a, counts).sum()))(x)
    np.testing.assert_allclose(value, [1001 + np.log1p(np.exp(-1)), -1000, -1e30], rtol=1e-6)
    share = 1 / (1 + np.exp(1))
    np.testing.assert_allclose(gradient, [[share, 1 - share, 0], [1, 0, 0], [0, 0, 0]], atol=1e-4)


def test_mistakes_are_named():
    x, labels = jnp.ones((4, 2)), jnp.zeros(4, int)
    with pytest.raises(ValueError, match=r"contrastive: embeddings has shape \(3, 2\); expected \[B,...\] with B=4"):
        contrastive(x[:3], labels)
    with pytest.raises(ValueError, match="triplet: block is 0; expected at least 1"):
        triplet(x, labels, block=0)
    with pytest.raises(ValueError, match="triplet: block is 2.5; expected at least 1, a whole number"):
        triplet(x, labels, block=2.5)
    with pytest.raises(ValueError, match="circle: margin is 5.0; expected 0 <= m < 1"):
        circle(x, labels, margin=5.0)
    with pytest.raises(ValueError, match="contrastive: a batch of no examples"):
        contrastive(x[:0], labels[:0])
    with pytest.raises(ValueError, match="temperature is nan; expected above 0"):
        supervised_contrastive(x, labels, float("nan"))
    with pytest.raises(ValueError, match=r"circle: similarity gave shape \(4,\); expected \[4, 4\]"):
        circle(x, labels, similarity=lambda a, b: a.sum(1))
    with pytest.raises(ValueError, match=r"aligned_cosine: others has shape \(4, 3, 2\)"):
        aligned_cosine((jnp.ones((4, 2, 2)), jnp.ones((4, 2))), (jnp.ones((4, 3, 2)), jnp.ones((4, 3))))
    with pytest.raises(ValueError, match=r"anchors is an array of shape \(4, 2\); expected \(vectors \[B,K,D\], presence"):
        aligned_cosine(x, x)
    with pytest.raises(ValueError, match=r"where has shape \(2,\)"):
        multi_similarity(x, labels, where=jnp.ones(2, bool))
