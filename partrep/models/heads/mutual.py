"""The mutual head: best cosine of every local vector on the other side, both ways, without training."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.models.heads.episode import (
    NEGATIVE,
    Params,
    average,
    einsum,
    flatten_shots,
    learned_scale,
    prepare,
    unit,
)
from partrep.models.local import Local


def similarities(support: Local, query: Local, geometry: float) -> jax.Array:
    """Cosine less `geometry` times squared distance, of cleaned sets: [C,R,...], [Q,s,...] -> [Q,C,s,R].

    Pairs in which either vector weighs nothing get a very negative value.
    """
    score = einsum("qsd,crd->qcsr", unit(query.vectors), unit(support.vectors))
    if geometry:
        # |a - b|^2 expanded, so that no [Q,C,s,R,2] array is made.
        a, b = query.positions, support.positions
        square = (a**2).sum(-1)[:, None, :, None] + (b**2).sum(-1)[None, :, None]
        score = score - geometry * (square - 2 * einsum("qsp,crp->qcsr", a, b))
    there = (query.weights > 0)[:, None, :, None] & (support.weights > 0)[None, :, None]
    return jnp.where(there, score, NEGATIVE)


def _best(score: jax.Array, axis: int) -> jax.Array:
    """The maximum along an axis, zero where there is nothing to choose from."""
    best = score.max(axis)
    return jnp.where(best > NEGATIVE / 2, best, 0.0)


def mutual(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 10.0,
    geometry: float = 0.0,
) -> jax.Array:
    """Mutual best match: scale/2 * (mean_p max_j s_pj + mean_j max_p s_pj), s = cos - geometry * distance^2.

    p runs over the vectors of the query, j over those of all shots of the class; the means are weighted.
    Needs no correspondence between the sides and no training.

    Arguments:
        support, query, support_mask, params: see `partrep.models.heads.episode`.
        scale: > 0.
        geometry: >= 0, of squared distances in units of the image's side: how near a match has to lie.

    Memory: Q * C * s * n * r floats.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0], [1.0, 0.0]]], [[[0.0, 1.0], [1.0, 0.0]]]])
    >>> mutual(support, one([[[1.0, 0.0], [0.0, 1.0]]]), jnp.ones((2, 1), bool)).tolist()
    [[7.5, 10.0]]

    Source: the symmetric (averaged) form of the naive-Bayes nearest-neighbour measure, compare Li et al., DN4
    (CVPR 2019), image-to-class measure. Departures: one neighbour, both directions.
    """
    support, query = prepare(support, query, support_mask)
    support = flatten_shots(support)
    score = similarities(support, query, geometry)
    there = average(_best(score, 3), jnp.broadcast_to(query.weights[:, None], score.shape[:3]), 2)
    weights = jnp.broadcast_to(support.weights[None], (*score.shape[:2], score.shape[3]))
    back = average(_best(score, 2), weights, 2)
    return 0.5 * scale * learned_scale(params) * (there + back)
