"""Comparisons of images by their parts: shares sum to similarities, order of parts does not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.models.comparisons import COMPARISONS

RNG = np.random.default_rng(0)
KEPT = jnp.float32(RNG.normal(size=(5, 3, 4))), jnp.float32(RNG.uniform(size=(5, 3))).at[1, 2].set(0.0)


@pytest.mark.parametrize("name", [name for name, each in COMPARISONS.items() if each.shares is not None])
def test_shares_sum_to_the_similarity_and_an_absent_part_has_none(name):
    comparison = COMPARISONS[name]
    one, other = jnp.array([0, 0, 1, 2]), jnp.array([1, 2, 3, 2])
    first, second = (jax.tree.map(lambda x, rows=rows: x[rows], KEPT) for rows in (one, other))
    shares = np.asarray(comparison.shares(first, second))
    similarity = np.asarray(comparison.similarity(KEPT, KEPT))
    np.testing.assert_allclose(shares.sum(1), similarity[one, other], atol=1e-5)
    assert shares[0, 2] == shares[2, 2] == 0 and similarity[2, 2] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ["aligned", "joined", "best_match", "reciprocal"])
def test_the_order_of_parts_does_not_matter(name):
    similarity = COMPARISONS[name].similarity
    turned = jax.tree.map(lambda x: x[:, ::-1], KEPT)
    np.testing.assert_allclose(similarity(turned, turned), similarity(KEPT, KEPT), atol=1e-5)
    moved = np.abs(np.asarray(similarity(KEPT, turned)) - np.asarray(similarity(KEPT, KEPT))).max()
    assert (moved < 1e-5) == (name in ("best_match", "reciprocal"))


def test_the_vector_of_joined_parts_has_their_cosine():
    comparison = COMPARISONS["joined"]
    vectors = np.asarray(comparison.vector(KEPT))
    np.testing.assert_allclose(vectors @ vectors.T, comparison.similarity(KEPT, KEPT), atol=1e-5)


def test_the_vector_of_local_ones_is_their_sum_in_any_order():
    vector = COMPARISONS["best_match"].vector
    turned = jax.tree.map(lambda x: x[:, ::-1], KEPT)
    np.testing.assert_allclose(vector(turned), vector(KEPT), atol=1e-5)
    two = jnp.array([[[3.0, 0.0], [0.0, 2.0]]]), jnp.array([[1.0, 0.5]])
    assert vector(two).tolist() == [[1.0, 0.5]]


def test_no_part_at_all_is_like_nothing():
    empty = KEPT[0], jnp.zeros((5, 3))
    for name in ("aligned", "joined", "best_match", "reciprocal"):
        gradient = jax.grad(lambda z, name=name: COMPARISONS[name].similarity((z, empty[1]), KEPT).sum())(empty[0])
        assert not np.asarray(COMPARISONS[name].similarity(empty, KEPT)).any() and not np.asarray(gradient).any()
