"""The part-aligned head against loops in float64 and its geometry against complex arithmetic."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads.aligned import aligned, aligned_contributions, fit_positions
from partrep.models.local import Local


def residuals(source, target, weights, align):
    """What the best placement leaves, by a weighted least-squares solver on complex numbers."""
    s, t = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    root = np.sqrt(weights)
    if align == "none":
        return np.abs(t - s) ** 2
    if align == "translation":
        move = np.linalg.lstsq(root[:, None], root * (t - s), rcond=None)[0]
        return np.abs(t - s - move) ** 2
    system = np.stack([s, np.ones_like(s)], 1)
    placed = np.linalg.lstsq(root[:, None] * system, root * t, rcond=None)[0]
    return np.abs(t - system @ placed) ** 2


def contributions(support, query, mask, scale, geometry, align, unit):
    """[Q,C,r] by loops over queries, classes, shots and parts."""
    out = np.zeros((len(query.weights), len(mask), query.weights.shape[1]))
    for q in range(len(out)):
        for c in range(len(mask)):
            shots = np.flatnonzero(mask[c])
            s, v = support.weights[c, shots].astype(np.float64), support.vectors[c, shots].astype(np.float64)
            v[s == 0] = 0
            together = query.weights[q] * s.mean(0)
            for k in np.flatnonzero(together > 0):
                template = unit((s[:, k, None] * v[:, k]).sum(0))
                out[q, c, k] += together[k] / together.sum() * (unit(query.vectors[q, k]) @ template)
            for i, shot in enumerate(shots):
                w = query.weights[q] * s[i]
                left = residuals(np.float64(support.positions[c, shot]), np.float64(query.positions[q]), w, align)
                out[q, c] -= geometry * np.where(w > 0, w / w.sum() * left, 0) / len(shots)
    return scale * out


@pytest.mark.parametrize("align", ["none", "translation", "similarity"])
def test_contributions(episode, oracle, align):
    expected = contributions(*episode, 7.0, 3.0, align, oracle.unit)
    settings = {"scale": 7.0, "geometry": 3.0, "align": align}
    out = np.asarray(jax.jit(partial(aligned_contributions, **settings))(*episode))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    logits = jax.jit(partial(aligned, **settings))(*episode)
    np.testing.assert_allclose(out.sum(-1), logits, rtol=1e-5, atol=1e-5)


def test_weighting_by_length_is_the_cosine_of_the_parts_side_by_side(episode, oracle):
    support, query, mask = episode
    settings = {"scale": 1.0, "geometry": 0.0, "weighting": "length"}
    out = np.asarray(jax.jit(partial(aligned_contributions, **settings))(support, query, mask))
    vectors = np.where(support.weights[..., None] > 0, support.vectors, 0.0).astype(np.float64)
    for q in range(len(query.weights)):
        asked = oracle.unit(np.where(query.weights[q][:, None] > 0, query.vectors[q], 0.0).ravel())
        for c, shots in enumerate(mask):
            weights = support.weights[c, shots].astype(np.float64)
            template = (weights[..., None] * vectors[c, shots]).sum(0) / weights.sum(0)[:, None]
            terms = (asked * oracle.unit(template.ravel())).reshape(template.shape).sum(1)
            np.testing.assert_allclose(out[q, c], terms, rtol=1e-4, atol=1e-5)


def test_parameters_multiply_scale_and_geometry(episode):
    params = {"log_scale": np.log(2.0), "log_geometry": np.log(3.0)}
    np.testing.assert_allclose(
        jax.jit(aligned)(*episode, params),
        jax.jit(partial(aligned, scale=20.0, geometry=15.0))(*episode),
        rtol=1e-4,
        atol=1e-4,
    )


def place(points, turn, size, move):
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (size * points @ rotation.T + move).astype(np.float32)


def test_the_right_placements_are_free(make_episode):
    support = make_episode(7)[0]
    points = support.positions[0, 0]
    for align, free in (
        ("translation", place(points, 0.0, 1.0, [0.1, -0.2])),
        ("similarity", place(points, 0.7, 1.4, [0.1, -0.2])),
    ):
        left = fit_positions(points, free, support.weights[0, 0], align)
        np.testing.assert_allclose(left, 0.0, atol=1e-6)
    turned = fit_positions(points, place(points, 0.7, 1.0, 0.0), support.weights[0, 0], "translation")
    assert float(np.abs(turned).max()) > 0.01
    mirrored = fit_positions(points, points[:, ::-1], support.weights[0, 0], "similarity")
    assert float(np.abs(mirrored).max()) > 0.01


def test_similarity_of_one_part_or_one_point_is_free_and_finite():
    source, weights = np.full((3, 2), 0.5), np.array([1.0, 0.0, 0.0])

    def left(target):
        return (fit_positions(source, target, weights, "similarity")[0] ** 2).sum()

    value, slope = jax.jit(jax.value_and_grad(left))(np.random.default_rng(0).uniform(size=(3, 2)).astype(np.float32))
    assert float(value) < 1e-10 and np.isfinite(slope).all()


def test_errors(episode, make_episode):
    with pytest.raises(UserError, match="'similarity'"):
        aligned(*episode, align="affine")
    with pytest.raises(UserError, match="'presence' or 'length'"):
        aligned(*episode, weighting="area")
    support, query, mask = make_episode()
    fewer = jax.tree.map(lambda x: x[:, :3], query)
    with pytest.raises(UserError, match="4 parts in the support and 3 in the query"):
        aligned(support, fewer, mask)


def test_weighting_by_length_is_the_cosine_of_all_parts_side_by_side():
    rng = np.random.default_rng(5)
    support = Local(rng.normal(size=(3, 1, 4, 5)), np.ones((3, 1, 4)), np.zeros((3, 1, 4, 2)))
    query = Local(rng.normal(size=(6, 4, 5)), np.ones((6, 4)), np.zeros((6, 4, 2)))
    mask = np.ones((3, 1), bool)
    settings = dict(geometry=0.0, weighting="length", scale=7.0)
    logits = aligned(
        jax.tree.map(jnp.asarray, support), jax.tree.map(jnp.asarray, query), jnp.asarray(mask), **settings
    )
    q, p = query.vectors.reshape(6, -1), support.vectors.reshape(3, -1)
    cosine = q @ p.T / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(p, axis=1)[None]
    np.testing.assert_allclose(logits, 7.0 * cosine, atol=1e-5)
    with pytest.raises(UserError, match="weighting 'size'"):
        aligned(
            jax.tree.map(jnp.asarray, support), jax.tree.map(jnp.asarray, query), jnp.asarray(mask), weighting="size"
        )
