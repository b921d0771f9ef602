"""Similarities against float64 NumPy, one location and one part at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.parts import similarity

B, H, W, K, D, E, A = 2, 3, 4, 5, 6, 7, 4
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(B, H, W, D))
SHARED = RNG.normal(size=(K, D))
PER_IMAGE = RNG.normal(size=(B, K, D))
MEAN = RNG.normal(size=D)
COVARIANCE = np.cov(RNG.normal(size=(D, 50)))
KEY_KERNEL, QUERY_KERNEL = RNG.normal(size=(D, A)), RNG.normal(size=(E, A))


def whitened(z, p):
    regular = COVARIANCE + 0.1 * np.trace(COVARIANCE) / D * np.eye(D)
    return np.linalg.solve(regular, p - MEAN) @ z


def standard(z):
    return (z - z.mean()) / np.sqrt(z.var() + 1e-6)


CASES = {
    "standardised_dot": ({}, lambda z, p: standard(z) @ p),
    "negative_standardised_distance": ({}, lambda z, p: -((standard(z) / np.sqrt(D) - p) ** 2).sum()),
    "negative_squared_distance": ({}, lambda z, p: -((z - p) ** 2).sum()),
    "dot": ({}, lambda z, p: z @ p),
    "cosine": ({}, lambda z, p: z @ p / np.linalg.norm(z) / np.linalg.norm(p)),
    "whitened_dot": ({"mean": MEAN, "covariance": COVARIANCE, "ridge": 0.1}, whitened),
}


def oracle(pair, features, queries):
    queries = np.broadcast_to(queries, (B, *queries.shape[-2:]))
    out = np.empty((B, K, H, W))
    for b, k, y, x in np.ndindex(out.shape):
        out[b, k, y, x] = pair(features[b, y, x], queries[b, k])
    return out


def f32(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32) if np.ndim(a) else a, tree)


@pytest.mark.parametrize("queries", [SHARED, PER_IMAGE], ids=["shared", "per_image"])
@pytest.mark.parametrize("name", CASES)
def test_against_oracle(name, queries):
    extra, pair = CASES[name]
    got = getattr(similarity, name)(f32(FEATURES), f32(queries), **f32(extra))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, oracle(pair, FEATURES, queries), rtol=2e-4, atol=2e-5)


def test_discriminants_are_the_queries_of_whitened_dot():
    weights = similarity.discriminants(f32(PER_IMAGE), f32(MEAN), f32(COVARIANCE), 0.1)
    regular = COVARIANCE + 0.1 * np.trace(COVARIANCE) / D * np.eye(D)
    expected = np.linalg.solve(regular, (PER_IMAGE - MEAN).reshape(-1, D).T).T
    np.testing.assert_allclose(weights.reshape(-1, D), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        similarity.dot(f32(FEATURES), weights),
        similarity.whitened_dot(f32(FEATURES), f32(PER_IMAGE), f32(MEAN), f32(COVARIANCE), 0.1),
        rtol=1e-5,
    )


@pytest.mark.parametrize("lead", [(), (B,)], ids=["shared", "per_image"])
def test_scaled_dot_against_oracle(lead):
    queries = RNG.normal(size=(*lead, K, E))
    got = similarity.scaled_dot(*f32((FEATURES, queries, KEY_KERNEL, QUERY_KERNEL)))
    expected = oracle(lambda z, q: (z @ KEY_KERNEL) @ (q @ QUERY_KERNEL) / np.sqrt(A), FEATURES, queries)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["negative_squared_distance", "dot", "cosine", "standardised_dot"])
def test_bfloat16_features_are_used_in_float32(name):
    low = jnp.asarray(FEATURES, jnp.bfloat16)
    function, queries = getattr(similarity, name), f32(SHARED)
    got = function(low, queries)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, function(low.astype(jnp.float32), queries))


def test_distance_to_itself_is_zero_and_never_positive():
    z = 100 + f32(FEATURES)
    got = similarity.negative_squared_distance(z, z.reshape(B, H * W, D))
    assert float(got.max()) <= 0
    np.testing.assert_allclose(jnp.diagonal(got.reshape(B, H * W, -1), axis1=1, axis2=2), 0, atol=0.1)


def test_cosine_of_nothing_is_zero_without_gradient():
    z = jnp.zeros((1, 1, 1, D))
    value, gradient = jax.value_and_grad(lambda z: similarity.cosine(z, f32(SHARED)).sum())(z)
    assert float(value) == 0 and float(jnp.abs(gradient).max()) == 0


@pytest.mark.parametrize("name", ["negative_squared_distance", "cosine", "negative_standardised_distance"])
def test_gradients_by_finite_differences(name):
    pair, step = CASES[name][1], 1e-5
    weights = RNG.normal(size=(B, K, H, W))
    function = getattr(similarity, name)
    loss = jax.jit(jax.grad(lambda z, p: (f32(weights) * function(z, p)).sum(), argnums=(0, 1)))
    got = loss(f32(FEATURES), f32(SHARED))
    for which, index in [(0, (1, 2, 3, 4)), (0, (0, 0, 0, 0)), (1, (0, 0)), (1, (4, 5)), (1, (2, 3))]:
        ends = []
        for sign in (1, -1):
            moved = [FEATURES.copy(), SHARED.copy()]
            moved[which][index] += sign * step
            ends.append((weights * oracle(pair, *moved)).sum())
        np.testing.assert_allclose(got[which][index], (ends[0] - ends[1]) / (2 * step), rtol=1e-3, atol=1e-3)


def test_no_array_of_all_pairs_of_features_is_made():
    """The step-time target holds only while nothing of size B*K*N*D is computed, forwards or backwards."""
    z, p = jnp.ones((2, 8, 8, 32)), jnp.ones((16, 32))
    jaxpr = jax.make_jaxpr(jax.grad(lambda p: similarity.negative_squared_distance(z, p).sum()))(p)
    largest = max(np.prod(v.aval.shape) for e in jaxpr.eqns for v in e.outvars)
    assert largest <= max(2 * 64 * 32, 2 * 16 * 64)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: similarity.dot(jnp.ones((2, 3, 4)), jnp.ones((5, 4))), "features has shape"),
        (lambda: similarity.cosine(jnp.ones((2, 3, 3, 4)), jnp.ones((5, 3))), r"queries .* with D=4"),
        (lambda: similarity.dot(jnp.ones((2, 3, 3, 4)), jnp.ones((3, 5, 4))), r"queries .* with B=2, D=4"),
        (
            lambda: similarity.whitened_dot(jnp.ones((2, 3, 3, 4)), jnp.ones((5, 4)), jnp.ones(4), jnp.ones((4, 3))),
            "covariance has shape",
        ),
        (
            lambda: similarity.scaled_dot(jnp.ones((2, 3, 3, 4)), jnp.ones((5, 4)), jnp.ones((3, 2)), jnp.ones((4, 2))),
            "key_kernel has shape",
        ),
    ],
)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
