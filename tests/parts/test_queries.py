"""Queries against hand-worked values, a brute-force search of peaks in float64, and exact draw probabilities."""

import functools
import inspect
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.parts import queries
from partrep.parts.similarity import dot

B, H, W, D = 3, 5, 7, 4
RNG = np.random.default_rng(3)
SIGNED = RNG.normal(size=(B, H, W, D))
TIED = RNG.integers(0, 3, size=(B, H, W, D)).astype(float)  # few strengths: the first of many equals must be found
SPARSE = TIED * (RNG.uniform(size=(B, H, W, 1)) < 0.2)  # fewer peaks than asked for
PUBLIC = {
    name: function
    for name, function in inspect.getmembers(queries, inspect.isfunction)
    if function.__module__ == queries.__name__ and not name.startswith("_")
}


def brute_force_peaks(features, strength, count, radius):
    """Greedy suppression cell by cell; a peak is (y, x) or None."""
    peaks = []
    for _ in range(count):
        best = None
        for y, x in np.ndindex(strength.shape):
            hidden = any(math.hypot(y - v, x - u) <= radius for v, u in filter(None, peaks))
            if not hidden and strength[y, x] > (strength[best] if best else 0):
                best = (y, x)
        peaks.append(best)
    vectors = [features[p] if p else np.zeros(features.shape[-1]) for p in peaks]
    places = [((p[0] + 0.5) / strength.shape[0], (p[1] + 0.5) / strength.shape[1]) if p else (0.5, 0.5) for p in peaks]
    return np.array(vectors), np.array(places), np.array([p is not None for p in peaks])


def f32(x):
    return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_states_shapes_errors_an_example_and_the_source(name):
    for word in ("Args:", "Returns:", "Raises:", "Example:", ">>>", "Source:"):
        assert word in PUBLIC[name].__doc__


def test_every_function_of_the_room_was_found():
    assert set(PUBLIC) == {"unit_rows", "channels", "class_tied", "own_class", "activation_peaks", "from_data"}


def test_unit_rows_are_drawn_directions_of_length_one():
    key = jax.random.key(4)
    rows, drawn = queries.unit_rows(key, (5, 6)), np.asarray(jax.random.normal(key, (5, 6)), np.float64)
    assert rows.dtype == jnp.float32
    np.testing.assert_allclose(rows, drawn / np.linalg.norm(drawn, axis=1, keepdims=True), rtol=1e-5)
    assert queries.unit_rows(key, (5, 6), jnp.bfloat16).dtype == jnp.bfloat16
    assert not np.allclose(rows, queries.unit_rows(jax.random.key(5), (5, 6)))


@pytest.mark.parametrize("parts", [None, 1, 3, D])
def test_the_dot_of_a_channel_is_the_channel_itself(parts):
    rows = queries.channels(D, parts)
    assert rows.dtype == jnp.float32 and rows.shape == (parts or D, D)
    np.testing.assert_array_equal(dot(f32(SIGNED), rows), f32(SIGNED).transpose(0, 3, 1, 2)[:, : parts or D])


def test_classes_of_prototypes():
    classes = queries.class_tied(4, 3)
    assert classes.dtype == jnp.int32 and classes.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_own_prototypes_are_those_of_the_label():
    classes, labels = np.array([2, 0, 1, 0, 7]), np.array([0, 2, -1])
    own = queries.own_class(classes, labels)
    assert own.dtype == jnp.bool_
    np.testing.assert_array_equal(own, [[c == y for c in classes] for y in labels])
    assert own.sum(axis=1).tolist() == [2, 1, 0]


def test_class_numbers_cost_no_matrix_of_prototypes_and_classes():
    def both(labels):
        classes = queries.class_tied(50, 4)
        return classes, queries.own_class(classes, labels)

    jaxpr = jax.make_jaxpr(both)(jnp.zeros(3, jnp.int32))
    inner = [e.params["jaxpr"].jaxpr for e in jaxpr.eqns if "jaxpr" in e.params]
    sizes = [np.prod(v.aval.shape) for j in (jaxpr.jaxpr, *inner) for e in j.eqns for v in e.outvars]
    assert max(sizes) == 3 * 200


def test_peaks_by_hand():
    strengths = jnp.array([[[[5.0], [4.0], [0.0], [3.0], [-3.0]]]])
    vectors, places, valid = queries.activation_peaks(strengths, 3, radius=1)
    assert vectors[0, :, 0].tolist() == [5.0, 3.0, 0.0]  # 4 is beside 5; 3 and -3 are equally long, 3 comes first
    np.testing.assert_allclose(places[0], [[0.5, 0.1], [0.5, 0.7], [0.5, 0.5]], rtol=1e-6)
    assert valid.tolist() == [[True, True, False]]


@pytest.mark.parametrize("radius", [0, 1, 2**0.5, 13**0.5, math.inf])
def test_peaks_against_brute_force(radius):
    features = np.concatenate([SIGNED, TIED, SPARSE])
    got = queries.activation_peaks(f32(features), 6, radius)
    expected = [brute_force_peaks(z, (z**2).sum(-1), 6, radius) for z in features]
    for have, want in zip(got, (np.stack(x) for x in zip(*expected))):
        np.testing.assert_allclose(have, want, rtol=1e-6)
    assert [x.dtype for x in got] == [jnp.float32, jnp.float32, jnp.bool_]


def test_the_cases_of_the_brute_force_differ_in_what_they_try():
    strengths = (TIED[0] ** 2).sum(-1).ravel()
    assert len(np.unique(strengths)) < len(strengths) / 2
    assert not brute_force_peaks(SPARSE[0], (SPARSE[0] ** 2).sum(-1), 6, 2)[2].all()
    assert brute_force_peaks(SIGNED[0], (SIGNED[0] ** 2).sum(-1), 6, 1)[2].all()


def test_a_given_activation_decides_and_below_zero_there_is_no_peak():
    activation = SIGNED.mean(-1) - 0.5
    got = queries.activation_peaks(f32(SIGNED), 8, 1, f32(activation))
    expected = [brute_force_peaks(z, a, 8, 1) for z, a in zip(SIGNED, activation)]
    for have, want in zip(got, (np.stack(x) for x in zip(*expected))):
        np.testing.assert_allclose(have, want, rtol=1e-6)
    assert not got[2].all() and got[2][:, 0].all()


def test_peaks_of_an_image_depend_on_that_image_alone():
    order = jnp.array([2, 0, 1])
    peaks = jax.jit(lambda z: queries.activation_peaks(z, 4, 1.5))
    before, after = peaks(f32(SIGNED)), peaks(f32(SIGNED)[order])
    for b, a in zip(before, after):
        np.testing.assert_array_equal(a, b[order])


def test_peaks_under_jit_and_vmap():
    z = f32(SPARSE)
    eager = queries.activation_peaks(z, 5, 1)
    jitted = jax.jit(queries.activation_peaks, static_argnames=("count", "radius"))(z, count=5, radius=1)
    mapped = jax.vmap(lambda x: queries.activation_peaks(x, 5, 1))(jnp.stack([z, z[::-1]]))
    for e, j, m in zip(eager, jitted, mapped):
        np.testing.assert_array_equal(j, e)
        np.testing.assert_array_equal(m, jnp.stack([e, e[::-1]]))


def test_bfloat16_features_give_float32_peaks():
    low = jnp.asarray(SIGNED, jnp.bfloat16)
    peaks = jax.jit(lambda z: queries.activation_peaks(z, 3, 1))
    for a, b in zip(peaks(low), peaks(low.astype(jnp.float32))):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_gradients_reach_the_features_of_valid_peaks_and_nothing_else():
    z, weights = f32(SPARSE), f32(RNG.normal(size=(B, 6, D)))
    _, places, valid = queries.activation_peaks(z, 6, 2)
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(weights * queries.activation_peaks(z, 6, 2)[0])))(z)
    expected = np.zeros(z.shape)
    for b, k in np.argwhere(valid):
        y, x = (np.asarray(places[b, k]) * (H, W)).astype(int)
        expected[b, y, x] = weights[b, k]
    assert valid.any() and not valid.all()
    np.testing.assert_array_equal(gradient, expected)


def test_an_image_of_nothing_has_no_peaks_and_finite_gradients():
    z = jnp.zeros((1, H, W, D))
    vectors, places, valid = queries.activation_peaks(z, 2, 1)
    assert not valid.any() and not vectors.any() and places.tolist() == [[[0.5, 0.5], [0.5, 0.5]]]
    assert not jax.jit(jax.grad(lambda z: queries.activation_peaks(z, 2, 1)[0].sum()))(z).any()


@functools.partial(jax.jit, static_argnums=(1, 2))
def draws(rows, count, number=40):
    return jax.vmap(lambda key: queries.from_data(key, rows, count))(jax.random.split(jax.random.key(6), number))


def test_data_queries_are_different_rows_of_the_data():
    rows = f32(RNG.normal(size=(12, D)) + 1000)  # far from the origin: an expanded square would cancel
    for centres in np.asarray(draws(rows, 12)):  # as many as rows: each row once
        np.testing.assert_array_equal(np.unique(centres, axis=0), np.unique(rows, axis=0))


def test_every_different_row_is_taken_before_an_equal_one():
    rows = f32([[1, 1]] * 20 + [[1, 1.001]] * 3 + [[0, 5]])
    found = np.asarray(draws(rows, 3))
    assert all(len(np.unique(centres, axis=0)) == 3 for centres in found)
    assert len(np.unique(found[:, 0], axis=0)) > 1


def test_no_row_is_taken_twice_where_rows_coincide():
    rows = f32([[2.0], [1.0], [2.0], [2.0], [1.0]])
    np.testing.assert_array_equal(np.sort(draws(rows, 5)[..., 0]), np.tile([1.0, 1.0, 2.0, 2.0, 2.0], (40, 1)))
    assert (draws(jnp.ones((5, 1)), 5) == 1).all()


def test_draws_follow_the_squared_distance_to_the_nearest_query():
    x = np.array([0.0, 1.0, 3.0, 7.0])
    expected = {}
    for a, b, c in itertools.permutations(range(4), 3):
        second = (x - x[a]) ** 2
        third = np.minimum(second, (x - x[b]) ** 2)
        expected[a, b, c] = second[b] / second.sum() * third[c] / third.sum() / 4
    number = 20000
    found = np.searchsorted(x, draws(f32(x)[:, None], 3, number)[..., 0])
    for order, probability in expected.items():
        error = (found == order).all(axis=1).mean() - probability
        assert abs(error) < 4 * np.sqrt(probability / number) + 1e-4


def test_data_queries_take_maps_and_bfloat16_and_the_same_under_jit():
    key, low = jax.random.key(7), jnp.asarray(SIGNED, jnp.bfloat16)
    eager = queries.from_data(key, low, 4)
    assert eager.dtype == jnp.float32 and eager.shape == (4, D)
    jitted = jax.jit(queries.from_data, static_argnames="count")
    np.testing.assert_array_equal(eager, jitted(key, low.reshape(-1, D).astype(jnp.float32), count=4))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: queries.unit_rows(jax.random.key(0), (0, 4)), r"shape \(0, 4\) is 0; expected at least 1"),
        (lambda: queries.channels(0), "depth is 0; expected at least 1"),
        (lambda: queries.channels(4, 0), "parts is 0; expected 1 to 4 channels"),
        (lambda: queries.channels(4, 5), "parts is 5; expected 1 to 4 channels"),
        (lambda: queries.class_tied(0, 3), "classes is 0; expected at least 1"),
        (lambda: queries.class_tied(3, 0), "per_class is 0; expected at least 1"),
        (lambda: queries.activation_peaks(f32(SIGNED), 0, 1), "count is 0; expected 1 to 35 locations"),
        (lambda: queries.activation_peaks(f32(SIGNED), 36, 1), "count is 36; expected 1 to 35 locations"),
        (lambda: queries.activation_peaks(f32(SIGNED), 2, -1), "radius is -1; expected it at least 0"),
        (lambda: queries.activation_peaks(f32(SIGNED), 2, math.nan), "radius is nan"),
        (lambda: queries.from_data(jax.random.key(0), jnp.ones((3, 2)), 4), "count is 4; expected 1 to 3 rows"),
        (lambda: queries.from_data(jax.random.key(0), jnp.ones((3, 2)), 0), "count is 0; expected 1 to 3 rows"),
    ],
)
def test_wrong_counts_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: queries.activation_peaks(f32(SIGNED)[0], 2, 1), "features has shape"),
        (lambda: queries.activation_peaks(f32(SIGNED), 2, 1, jnp.ones((B, W, H))), r"activation .* with B=3, h=5, w=7"),
        (lambda: queries.own_class(jnp.zeros((4, 2), int), jnp.zeros(3, int)), "prototype_classes has shape"),
        (lambda: queries.own_class(jnp.zeros(4, int), jnp.zeros((3, 1), int)), "labels has shape"),
        (lambda: queries.from_data(jax.random.key(0), jnp.ones(3), 1), "features has shape"),
    ],
)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
