"""Bilinear sampling: both forms against loops, at the border too, and their gradients."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from partrep import UserError
from partrep.models.sampling import bilinear_points, tent_weights

B, H, W, D, P = 2, 4, 5, 3, 70
read = jax.jit(bilinear_points, static_argnames="form")


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.4, 1.4, (B, P, 2)).astype(np.float32)
    points[0, :6] = [(0, 0), (1, 1), (0.5 / H, 0.5 / W), (-0.5 / H, 0.5), (1 + 0.5 / H, 0.5), (5.0, -7.0)]
    return rng.normal(size=(B, H, W, D)).astype(np.float32), points


def oracle(maps, points):
    out = np.zeros((*points.shape[:2], D))
    for b, p in np.ndindex(B, points.shape[1]):
        y, x = points[b, p].astype(np.float64) * (H, W) - 0.5
        for i, j in np.ndindex(H, W):
            out[b, p] += max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j)) * maps[b, i, j]
    return out


@pytest.mark.parametrize("form", ["tents", "gather", "auto"])
def test_against_loops(form, inputs):
    out = read(*inputs, form)
    np.testing.assert_allclose(out, oracle(*inputs), rtol=1e-4, atol=1e-5)


def test_cell_centres_read_the_cells_and_half_a_cell_outside_reads_zero(inputs):
    maps, points = inputs
    for form in ("tents", "gather"):
        out = read(maps, points, form)
        np.testing.assert_allclose(out[0, 2], maps[0, 0, 0], rtol=1e-6)
        np.testing.assert_allclose(out[0, 3:6], 0.0, atol=1e-6)


def test_gradients_agree(inputs):
    maps, points = inputs
    probe = np.random.default_rng(1).normal(size=(B, P, D)).astype(np.float32)

    def slopes(form):
        return jax.jit(jax.grad(lambda m, p: (bilinear_points(m, p, form) * probe).sum(), (0, 1)))(maps, points)

    tents, gather = slopes("tents"), slopes("gather")
    np.testing.assert_allclose(tents[0], gather[0], rtol=1e-4, atol=1e-4)
    # Away from the kinks at cell centres the slopes in the points agree too.
    place = points * (H, W) - 0.5
    smooth = (np.abs(place - np.round(place)) > 1e-3).all(-1)
    np.testing.assert_allclose(tents[1][smooth], gather[1][smooth], rtol=1e-3, atol=1e-3)


def test_tents_sum_to_one_inside():
    places = np.linspace(0.5 / 7, 1 - 0.5 / 7, 50)
    np.testing.assert_allclose(np.asarray(tent_weights(places, 7)).sum(-1), 1.0, rtol=1e-5)


def test_unknown_form(inputs):
    with pytest.raises(UserError, match="'gather'"):
        bilinear_points(*inputs, form="cubic")
