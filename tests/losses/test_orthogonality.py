"""Angles between part vectors and between maps, against float64 loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.losses import map_decorrelation, orthogonality

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(2, 4, 5))
MAPS = RNG.uniform(size=(2, 3, 2, 3))


def pair_sum(x, power):
    total = np.zeros(len(x))
    for b, (k, m) in itertools.product(range(len(x)), itertools.permutations(range(x.shape[1]), 2)):
        cosine = x[b, k] @ x[b, m] / np.linalg.norm(x[b, k]) / np.linalg.norm(x[b, m])
        total[b] += cosine**power
    return total


def test_orthogonality_against_oracle(matches):
    matches(orthogonality, lambda v: pair_sum(v, 2) / 16, VECTORS)


def test_map_decorrelation_against_oracle(matches):
    matches(map_decorrelation, lambda a: pair_sum(a.reshape(2, 3, 6), 1) / 6, MAPS)


def test_prototypes_give_one_number():
    value = orthogonality(jnp.float32(VECTORS[0]))
    assert value.shape == ()
    np.testing.assert_allclose(value, orthogonality(jnp.float32(VECTORS))[0], rtol=1e-6)


def test_orthonormal_vectors_cost_nothing_and_length_does_not_matter():
    basis = np.linalg.qr(RNG.normal(size=(5, 5)))[0][:4]
    assert float(orthogonality(jnp.float32(basis))) < 1e-12
    scaled = VECTORS * RNG.uniform(0.1, 9, size=(2, 4, 1))
    np.testing.assert_allclose(orthogonality(jnp.float32(scaled)), orthogonality(jnp.float32(VECTORS)), rtol=1e-5)


def test_absent_parts_cost_nothing_and_have_no_gradient():
    vectors = jnp.float32(VECTORS).at[:, 1].set(0.0)
    gradient = jax.jit(jax.grad(lambda v: orthogonality(v).sum()))(vectors)
    np.testing.assert_array_equal(np.asarray(gradient)[:, 1], 0.0)
    kept = jnp.float32(np.delete(VECTORS, 1, axis=1))
    np.testing.assert_allclose(orthogonality(vectors) * 16, orthogonality(kept) * 9, rtol=1e-5)


def test_one_part_costs_nothing():
    assert float(map_decorrelation(jnp.ones((1, 1, 2, 2)))[0]) == 0
    assert float(orthogonality(jnp.ones((1, 3)))) == 0


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"expected \[B,K,D\]"):
        orthogonality(jnp.ones(3))
    with pytest.raises(ValueError, match="assignment has shape"):
        map_decorrelation(jnp.ones((2, 3, 4)))
