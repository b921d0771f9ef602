"""Matches of super-features and their contrastive loss against float64 loops; absent features, ties and padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import superfeature_contrastive
from partrep.losses.superfeatures import reciprocal_pairs, superfeature_matches

pytestmark = pytest.mark.usefixtures("hasty")

RNG = np.random.default_rng(21)
LABELS = np.array([0, 1, 0, 1, 2, 0])
TEMPLATES = RNG.normal(size=(4, 5))
FEATURES = TEMPLATES + 0.9 * RNG.normal(size=(6, 4, 5))  # about the same in all images: some match, some do not


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def distance(x, y):
    """Of unit vectors; a zero vector is infinitely far."""
    if not x.any() or not y.any():
        return np.inf
    return np.sqrt(((unit(x) - unit(y)) ** 2).sum())


def pairs_loop(d, r):
    """Each pair by sorted lists of its row and its column."""
    found = np.zeros(d.shape, bool)
    for i, j in np.ndindex(d.shape):
        row, column = sorted(np.delete(d[i], j)), sorted(np.delete(d[:, j], i))
        nearest = all(d[i, j] < others[0] for others in (row, column) if others)
        found[i, j] = np.isfinite(d[i, j]) and nearest and (not column or d[i, j] / column[0] <= r)
    return found


def matches_loop(first, second, r=0.9):
    d = np.array([[distance(x, y) for y in second] for x in first])
    return np.array([pairs_loop(d, r)[n, n] for n in range(len(first))])


def loss_loop(x, labels, margin, r=0.9, w=5.0):
    total, pairs = 0.0, 0
    for i, j in np.ndindex(len(x), len(x)):
        if i == j or labels[i] != labels[j]:
            continue
        pairs += 1
        for n in np.flatnonzero(matches_loop(x[i], x[j], r)):
            others = [x[k, n] for k in range(len(x)) if labels[k] != labels[i] and x[k, n].any()]
            pushes = [max(0.0, margin - distance(x[i, n], other)) ** 2 / 2 for other in others]
            total += distance(x[i, n], x[j, n]) ** 2 / 2 + w * (np.mean(pushes) if pushes else 0.0)
    return total / max(pairs, 1) / x.shape[1]


@functools.cache
def program(block=None):
    loss = functools.partial(superfeature_contrastive, margin=1.3, block=block)
    return jax.jit(jax.value_and_grad(lambda x, labels, where: loss(x, labels, where=where)))


def value_and_gradient(x, labels=LABELS, where=None, block=None):
    where = np.ones(6, bool) if where is None else where
    value, gradient = program(block)(jnp.float32(x), jnp.int32(labels), jnp.asarray(where))
    return float(value), np.asarray(gradient)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0])
def test_pairs_against_sorted_lists(ratio):
    found = jax.jit(jax.vmap(functools.partial(reciprocal_pairs, ratio=ratio)))
    distances = np.float32(RNG.integers(0, 30, (200, 5, 4)) / 8)  # many ties, and a few zeros
    distances[RNG.random(distances.shape) < 0.1] = np.inf
    got = np.asarray(found(distances))
    np.testing.assert_array_equal(got, [pairs_loop(np.float64(d), ratio) for d in distances])
    assert got.sum(1).max() == got.sum(2).max() == 1 and 0.02 < got.any((1, 2)).mean()
    turned = np.asarray(found(distances.transpose(0, 2, 1))).transpose(0, 2, 1)
    both = reciprocal_pairs(distances.transpose(1, 0, 2), ratio, both=True, axis=2)
    np.testing.assert_array_equal(np.asarray(both).transpose(1, 0, 2), got & turned)
    assert ratio == 1.0 or (got != turned).any()


def test_the_ratio_is_of_two_distances_and_not_of_a_distance_and_an_index():
    # Feature 2 of the second image is at 0.5 from its like and at 0.55 from feature 1, whose index is larger than both.
    near = np.full((3, 3), 1.4)
    np.fill_diagonal(near, 0.5)
    near[1, 2] = 0.55
    assert np.diagonal(reciprocal_pairs(jnp.float32(near))).tolist() == [True, True, False]
    turned = near[::-1, ::-1]
    assert np.diagonal(reciprocal_pairs(jnp.float32(turned))).tolist() == [False, True, True]


def test_matches_against_loops_and_length_does_not_matter():
    found = jax.jit(superfeature_matches)
    some = [np.asarray(found(FEATURES[i], FEATURES[j])) for i, j in np.ndindex(6, 6)]
    np.testing.assert_array_equal(some, [matches_loop(FEATURES[i], FEATURES[j]) for i, j in np.ndindex(6, 6)])
    assert 0.2 < np.mean(some) < 0.9
    longer = FEATURES[1] * RNG.uniform(0.1, 9, (4, 1))
    np.testing.assert_array_equal(found(FEATURES[0], longer), some[1])


def test_a_feature_turned_to_another_index_matches_nothing_of_its_own():
    turned = FEATURES[0][[1, 0, 2, 3]]
    assert jax.jit(superfeature_matches)(FEATURES[0], turned).tolist() == [False, False, True, True]


def test_the_loss_against_loops(matches):
    def oracle(x):
        return loss_loop(x, LABELS, 1.3)

    matches(lambda x: superfeature_contrastive(x, LABELS, margin=1.3), oracle, FEATURES, rtol=2e-3)
    assert oracle(FEATURES) > 0.1


def test_the_loss_by_hand():
    x = jnp.float32([[[1, 0, 0], [0, 1, 0]], [[0.8, 0.6, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]])
    # Feature 0 of images 0 and 1: d^2 = 0.4, the second nearest in image 0 at 0.8, so that 0.4 / 0.8 < 0.81. Feature 1 of
    # image 1 is equally far from both of image 0, and matches none. Image 2 is where image 0 is.
    pushes = [0.5 * 1.1**2, 0.5 * (1.1 - np.sqrt(0.4)) ** 2]
    found = jax.jit(functools.partial(superfeature_contrastive, negatives=2.0))(x, jnp.array([0, 0, 1]))
    assert float(found) == pytest.approx((0.4 + 2 * sum(pushes)) / 4)  # two ordered pairs of two features


def test_blocks_equal_the_plain_form():
    where = np.arange(6) != 2
    for one, other in zip(value_and_gradient(FEATURES, where=where, block=4), value_and_gradient(FEATURES, where=where)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_order_does_not_matter_and_what_is_masked_is_not_there():
    order = RNG.permutation(6)
    value, gradient = value_and_gradient(FEATURES)
    moved = value_and_gradient(FEATURES[order], LABELS[order])
    np.testing.assert_allclose(moved[0], value, rtol=1e-5)
    np.testing.assert_allclose(moved[1], gradient[order], rtol=1e-4, atol=1e-6)
    padded = FEATURES.copy()
    padded[4:] = np.nan
    value, gradient = value_and_gradient(padded, where=np.arange(6) < 4)
    assert value == pytest.approx(loss_loop(FEATURES[:4], LABELS[:4], 1.3), rel=1e-4)
    assert np.isfinite(gradient).all() and not gradient[4:].any() and gradient[:4].any()


def test_an_absent_feature_is_neither_drawn_nor_pushed():
    x = FEATURES.copy()
    x[0, 1] = x[4, 2] = x[3] = 0.0
    value, gradient = value_and_gradient(x)
    assert value == pytest.approx(loss_loop(x, LABELS, 1.3), rel=1e-4)
    assert not gradient[0, 1].any() and not gradient[4, 2].any() and not gradient[3].any()


CORNERS = {
    "nothing": (FEATURES, LABELS, np.zeros(6, bool)),
    "one image": (FEATURES, LABELS, np.arange(6) == 2),
    "no positives": (FEATURES, np.arange(6), None),
    "nothing matches": (FEATURES[:1, [0] * 4] * np.ones((6, 1, 1)), LABELS, None),
    "zeros": (np.zeros((6, 4, 5)), LABELS, None),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_where_nothing_matches_nothing_is_learned(corner):
    for block in (None, 4):
        value, gradient = value_and_gradient(*CORNERS[corner], block=block)
        assert value == 0 and not gradient.any()


@pytest.mark.parametrize("scale", [1.0, 1e15, 1e-5])
def test_copies_of_an_image_are_finite(scale):
    value, gradient = value_and_gradient(scale * FEATURES[:1] * np.ones((6, 1, 1)))
    assert value == pytest.approx(5 * 1.3**2 / 2 * np.mean(matches_loop(FEATURES[0], FEATURES[0])), rel=1e-2)
    assert np.isfinite(gradient).all()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"labels has shape \(5,\); expected \[B\] with B=6"):
        superfeature_contrastive(FEATURES, LABELS[:5])
    with pytest.raises(ValueError, match="superfeature_contrastive: block is 0"):
        superfeature_contrastive(FEATURES, LABELS, block=0)
    with pytest.raises(ValueError, match="ratio is 0.0; expected above 0"):
        superfeature_matches(FEATURES[0], FEATURES[1], 0.0)
    with pytest.raises(ValueError, match=r"second has shape \(3, 5\); expected \[N,D\] with N=4"):
        superfeature_matches(FEATURES[0], FEATURES[1, :3])
