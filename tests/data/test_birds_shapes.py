"""Shapes: equal areas, distances to first order, textures by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from partrep.data.birds import shapes
from partrep.data.birds.shapes import Layer


def _layer(outline, scale=(1.0, 1.0), fold=0.0, texture=shapes.TEXTURES[0]):
    scale = np.array(scale, np.float32)
    zero = jnp.zeros(3)
    return Layer(
        jnp.zeros(2), jnp.diag(1 / scale), jnp.asarray(scale), jnp.asarray(outline), jnp.asarray(fold),
        jnp.asarray(texture), zero, zero, jnp.zeros(2), jnp.ones(()),
    )  # fmt: skip


def _distance(layer, x, y):
    u, v, length, inverse = shapes.local(layer, jnp.asarray(x), jnp.asarray(y))
    return np.asarray(shapes.distance(layer, u, v, length, inverse))


@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_all_shapes_cover_the_same_area(gain):
    axis = np.linspace(-3, 3, 601, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    for name, outline in zip(shapes.SHAPE_NAMES, shapes.outline_table(gain)):
        area = np.mean(_distance(_layer(outline), x, y) < 0) * 6.01**2
        assert abs(area / np.pi - 1) < 0.02, name


def test_no_gain_means_discs():
    table = shapes.outline_table(0.0)
    np.testing.assert_allclose(table, np.tile([1, 0, 0, 0, 0, 0, 0, 0], (7, 1)), atol=1e-6)


def test_radius_is_the_cosine_series():
    angle = np.linspace(0, np.pi, 9)
    row = shapes.SHAPES[4]
    series = 1 + sum(row[k] * np.cos((k + 1) * angle) for k in range(5))
    got = np.polynomial.polynomial.polyval(np.cos(angle), shapes.outline_table(1.0)[4, :6])
    np.testing.assert_allclose(got / got[0], series / series[0], rtol=1e-5)


def test_distance_of_a_disc_is_exact_and_of_an_ellipse_right_near_the_outline():
    disc = shapes.outline_table(0.0)[0]
    np.testing.assert_allclose(_distance(_layer(disc), [[3.0, 0.0]], [[4.0, 0.5]]), [[4.0, -0.5]], atol=1e-5)
    ellipse = _layer(disc, scale=(2.0, 0.5))
    got = _distance(ellipse, [[2.01, 0.0, 1.99]], [[0.0, 0.52, 0.0]])
    np.testing.assert_allclose(got, [[0.01, 0.02, -0.01]], atol=1e-3)


def test_stretch_and_fold():
    capsule = _layer([1, 0, 0, 0, 0, 0, 2.0, 0])
    np.testing.assert_allclose(_distance(capsule, [[3.5, 1.0, -2.0]], [[0.0, 1.5, -1.2]]), [[0.5, 0.5, 0.2]], atol=1e-5)
    pair = _layer(shapes.outline_table(0.0)[0], fold=3.0)
    np.testing.assert_allclose(_distance(pair, [[3.5, -3.5, 0.0]], [[0.0, 0.0, 0.0]]), [[-0.5, -0.5, 2]], atol=1e-3)
    assert np.all(np.isfinite(_distance(pair, [[3.0, -3.0]], [[0.0, 0.0]])))


def test_triangle_wave_by_hand():
    got = shapes.triangle_wave(jnp.array([0.0, 0.25, 0.5, 0.75, 1.0, -0.25, 3.5]))
    np.testing.assert_allclose(got, [-1, 0, 1, 0, -1, 0, 1], atol=1e-6)


def test_half_is_ink_on_one_side_and_plain_is_none():
    u = jnp.array([[-0.6, 0.6]])
    half = shapes.ink(_layer(shapes.outline_table(1.0)[0], texture=shapes.TEXTURES[6]), u, u, jnp.abs(u))
    plain = shapes.ink(_layer(shapes.outline_table(1.0)[0]), u, u, jnp.abs(u))
    assert np.asarray(half).tolist() == [[0.0, 1.0]] and np.asarray(plain).tolist() == [[0.0, 0.0]]


def test_palette_is_drawn_towards_its_mean():
    np.testing.assert_allclose(shapes.palette(1.0), shapes.PALETTE, atol=1e-6)
    full, half = (np.ptp(shapes.palette(g), axis=0) for g in (1.0, 0.5))
    np.testing.assert_allclose(half, full / 2, atol=1e-6)
    np.testing.assert_allclose(shapes.palette(0.5).mean(0), shapes.PALETTE.mean(0), atol=1e-6)
