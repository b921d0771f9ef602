"""Read-outs against float64 NumPy loops; absent parts; masking equals slicing out; exact additivity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.parts import readout

B, K, H, W, D = 2, 3, 4, 5, 6
RNG = np.random.default_rng(2)
FEATURES = RNG.normal(size=(B, H, W, D))
ASSIGNMENT = RNG.dirichlet(np.ones(K + 1), size=(B, H, W)).transpose(0, 3, 1, 2)[:, :K]
QUERIES = RNG.normal(size=(K, D))
SCALE = RNG.uniform(0.5, 2, size=(K, D))
Z, ASSIGN = jnp.asarray(FEATURES, jnp.float32), jnp.asarray(ASSIGNMENT, jnp.float32)
FLAT, MAPS = FEATURES.reshape(B, H * W, D), ASSIGNMENT.reshape(B, K, H * W)


def per_part(function):
    return np.array([[function(FLAT[b], MAPS[b, k], k) for k in range(K)] for b in range(B)])


def residual_oracle(z, a, k):
    difference = (a[:, None] * (z - QUERIES[k])).sum(0) / a.sum() / SCALE[k]
    return difference / np.linalg.norm(difference)


def standard(z):
    return (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6)


ORACLES = {
    "standardised_mean": (
        lambda z, a, k: np.average(standard(z), axis=0, weights=a),
        lambda: readout.standardised_mean(Z, ASSIGN),
    ),
    "area_mean": (lambda z, a, k: (a[:, None] * z).mean(0), lambda: readout.area_mean(Z, ASSIGN)),
    "weighted_mean": (
        lambda z, a, k: np.average(z, axis=0, weights=a),
        lambda: readout.weighted_mean(Z, ASSIGN),
    ),
    "residual": (
        residual_oracle,
        lambda: readout.residual(Z, ASSIGN, jnp.float32(QUERIES), jnp.float32(SCALE)),
    ),
    "standardised_residual": (
        lambda z, a, k: residual_oracle(standard(z) / np.sqrt(D) * SCALE[k] - QUERIES[k] * (SCALE[k] - 1), a, k),
        lambda: readout.standardised_residual(Z, ASSIGN, jnp.float32(QUERIES)),
    ),
    "peak_assignment": (
        lambda z, a, k: np.eye(H * W)[a.argmax()].reshape(H, W),
        lambda: readout.peak_assignment(ASSIGN),
    ),
    "max_score": (lambda z, a, k: a.max(), lambda: readout.max_score(ASSIGN)),
    "top_mean_score": (lambda z, a, k: np.sort(a)[-3:].mean(), lambda: readout.top_mean_score(ASSIGN, 3)),
    "max_minus_mean_score": (
        lambda z, a, k: a.max() - a.mean(),
        lambda: readout.max_minus_mean_score(ASSIGN),
    ),
    "peak_vector": (lambda z, a, k: z[a.argmax()], lambda: readout.peak_vector(Z, ASSIGN)),
    "gem": (
        lambda z, a, k: np.mean(np.maximum(z, 1e-6) ** 2.5, axis=0) ** (1 / 2.5),
        lambda: jnp.repeat(readout.gem(Z, 2.5)[:, None], K, axis=1),
    ),
    "presence": (lambda z, a, k: a.max(), lambda: readout.presence(ASSIGN)),
}


@pytest.mark.parametrize("name", ORACLES)
def test_against_oracle(name):
    oracle, call = ORACLES[name]
    got = call()
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, per_part(oracle), rtol=1e-4, atol=1e-6)


def test_centroid_against_oracle():
    y, x = np.meshgrid((np.arange(H) + 0.5) / H, (np.arange(W) + 0.5) / W, indexing="ij")
    mass = ASSIGNMENT.sum((2, 3))
    expected = np.stack([(ASSIGNMENT * c).sum((2, 3)) / mass for c in (y, x)], axis=-1)
    np.testing.assert_allclose(readout.centroid(ASSIGN), expected, rtol=1e-5)
    np.testing.assert_allclose(readout.grid_positions(H, W), np.stack([y, x], -1), rtol=1e-6)


def test_bfloat16_features_give_float32_vectors():
    low = Z.astype(jnp.bfloat16)
    for function in (readout.area_mean, readout.weighted_mean):
        np.testing.assert_array_equal(function(low, ASSIGN), function(low.astype(jnp.float32), ASSIGN))


def test_an_absent_part_gives_zero_and_finite_gradients():
    absent = ASSIGN.at[:, 1].set(0.0)

    def everything(z, a):
        vectors = [readout.area_mean(z, a), readout.weighted_mean(z, a), readout.residual(z, a, QUERIES)]
        return jnp.stack(vectors), readout.centroid(a)

    vectors, centroid = everything(Z, absent)
    np.testing.assert_array_equal(vectors[:, :, 1], 0.0)
    np.testing.assert_array_equal(centroid[:, 1], 0.5)
    total = jax.jit(jax.grad(lambda z, a: sum(jnp.sum(x) for x in everything(z, a)), argnums=(0, 1)))
    assert all(np.isfinite(g).all() for g in total(Z, absent))


def test_masking_a_location_equals_slicing_it_out():
    column = 2
    keep = [x for x in range(W) if x != column]
    masked, sliced = ASSIGN.at[..., column].set(0.0), ASSIGN[..., jnp.array(keep)]
    z = Z[:, :, jnp.array(keep)]
    for function in (readout.weighted_mean, lambda z, a: readout.residual(z, a, jnp.float32(QUERIES))):
        np.testing.assert_allclose(function(Z, masked), function(z, sliced), rtol=1e-4, atol=1e-6)
    whole, part = readout.area_mean(Z, masked) * W, readout.area_mean(z, sliced) * (W - 1)
    np.testing.assert_allclose(whole, part, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["area_mean", "weighted_mean"])
def test_location_contributions_are_exact_with_the_assignment_frozen(name):
    """Zeroing the feature of one location changes the logit by exactly that location's contribution."""
    function, head = getattr(readout, name), jnp.asarray(RNG.normal(size=(K, D)), jnp.float32)

    def logit(z):
        return jnp.sum(head * function(z, ASSIGN), axis=(1, 2))

    contributions = (jax.grad(lambda z: logit(z).sum())(Z) * Z).sum(-1)
    np.testing.assert_allclose(contributions.sum((1, 2)), logit(Z), rtol=1e-4)
    for y, x in [(0, 0), (3, 4), (1, 2)]:
        change = logit(Z) - logit(Z.at[:, y, x].set(0.0))
        np.testing.assert_allclose(change, contributions[:, y, x], atol=1e-5)


def test_gem_lies_between_mean_and_maximum_and_never_dies():
    z = jnp.maximum(Z, 0.01)
    gem = jax.jit(readout.gem)
    np.testing.assert_allclose(gem(z, 1.0), z.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(gem(z, 500.0), z.max((1, 2)), rtol=1e-2)
    powers = np.linspace(1.0, 9.0, D)
    each = np.stack([gem(z, p)[:, d] for d, p in enumerate(powers)], axis=1)
    np.testing.assert_allclose(jax.jit(readout.gem)(z, jnp.float32(powers)), each, rtol=1e-5)
    # Nothing but small features: their power is 0 in float32, and the root of 0 has no gradient.
    dead = jnp.full((1, 2, 2, 3), -1.0).at[0, 0, 0, 0].set(1e-5)
    slopes = jax.jit(jax.value_and_grad(lambda x, p: readout.gem(x, p).sum(), argnums=(0, 1)))
    value, gradients = slopes(dead, 12.0)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
    np.testing.assert_allclose(gradients[0][0, 0, 0, 0], 4 ** (-1 / 12), rtol=1e-3)


def test_gradients_of_gem_are_those_of_the_formula():
    def formula(z, p):
        return (np.maximum(z, 1e-6) ** p).mean((1, 2)) ** (1 / p)

    z, weights, step = np.abs(FEATURES) + 0.1, RNG.normal(size=(B, D)), 1e-6
    total = jax.jit(jax.grad(lambda x, p: jnp.sum(weights * readout.gem(x, p)), argnums=(0, 1)))
    got = total(jnp.float32(z), 3.0)
    for index in [(0, 0, 0, 0), (1, 2, 3, 4)]:
        bump = np.zeros_like(z)
        bump[index] = step
        change = (weights * (formula(z + bump, 3.0) - formula(z - bump, 3.0))).sum() / (2 * step)
        np.testing.assert_allclose(got[0][index], change, rtol=1e-3)
    change = (weights * (formula(z, 3.0 + step) - formula(z, 3.0 - step))).sum() / (2 * step)
    np.testing.assert_allclose(got[1], change, rtol=1e-3)


def test_permuting_parts_permutes_the_read_out():
    order = jnp.array([2, 0, 1])
    moved = ASSIGN[:, order]
    for function in (readout.area_mean, readout.weighted_mean, readout.peak_vector):
        np.testing.assert_allclose(function(Z, moved), function(Z, ASSIGN)[:, order], rtol=1e-5)
    np.testing.assert_allclose(readout.centroid(moved), readout.centroid(ASSIGN)[:, order], rtol=1e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: readout.area_mean(Z, ASSIGN[:1]), r"assignment .* with B=2, h=4, w=5"),
        (lambda: readout.weighted_mean(Z[0], ASSIGN), "features has shape"),
        (lambda: readout.residual(Z, ASSIGN, jnp.ones((K, D + 1))), r"queries .* with K=3, D=6"),
        (lambda: readout.top_mean_score(ASSIGN, 21), "count 21; expected 1 to 20"),
        (lambda: readout.peak_vector(Z, ASSIGN[..., :2]), "similarity has shape"),
        (lambda: readout.centroid(ASSIGN[0]), "assignment has shape"),
        (lambda: readout.gem(Z[0]), "features has shape"),
        (lambda: readout.gem(Z, jnp.ones(D + 1)), r"power has shape \(7,\); expected \[D\] with D=6"),
        (lambda: readout.gem(Z, 3.0, 0.0), "least 0.0; expected above 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
