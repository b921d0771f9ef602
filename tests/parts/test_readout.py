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
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
