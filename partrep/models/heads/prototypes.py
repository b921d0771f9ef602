"""Few-shot heads over one vector an image: prototypes and matching."""

from __future__ import annotations

import jax

from partrep import UserError
from partrep.models.heads.episode import (
    Params,
    average,
    einsum,
    learned_scale,
    log_weights,
    prepare,
    unit,
)
from partrep.models.local import Local


def _negative_squared_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """-|a - b|^2 between all rows: [Q,D], [C,D] -> [Q,C]."""
    return -((a[:, None] - b[None]) ** 2).sum(-1)


def prototypes(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    distance: str = "euclidean",
    scale: float = 1.0,
) -> jax.Array:
    """Prototypical network: logits = -scale * |q - p_c|^2, or scale * cos(q, p_c).

    Each image is the weighted mean of its vectors; p_c is the mean over the shots of class c.

    Arguments:
        support, query, support_mask, params: see `partrep.models.heads.episode`.
        distance: "euclidean" (squared) or "cosine".
        scale: > 0.

    Raises:
        UserError: another distance, or shapes that do not fit.

    >>> import jax.numpy as jnp
    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[0.0, 0.0]], [[2.0, 0.0]]], [[[0.0, 3.0]], [[0.0, 5.0]]]])
    >>> prototypes(support, one([[[1.0, 1.0]]]), jnp.ones((2, 2), bool)).tolist()
    [[-1.0, -10.0]]

    Source: Snell et al., Prototypical Networks for Few-shot Learning (NeurIPS 2017), equations 1 and 2.
    """
    support, query = prepare(support, query, support_mask)
    shots = average(support.vectors, support.weights, 2)
    centre = average(shots, support_mask.astype(shots.dtype), 1)
    image = average(query.vectors, query.weights, 1)
    if distance == "euclidean":
        score = _negative_squared_distance(image, centre)
    elif distance == "cosine":
        score = einsum("qd,cd->qc", unit(image), unit(centre))
    else:
        raise UserError(f"distance {distance!r}; expected 'euclidean' or 'cosine'")
    return scale * learned_scale(params) * score


def matching(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 10.0,
) -> jax.Array:
    """Matching network: logits = log sum_i softmax_i(scale * cos(q, s_i)) [y_i = c], i over all shots.

    Each image is the weighted mean of its vectors. The logits are log-probabilities.

    Arguments:
        support, query, support_mask, params: see `partrep.models.heads.episode`.
        scale: of the cosines, > 0.

    >>> import jax.numpy as jnp
    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    >>> jnp.exp(matching(support, one([[[1.0, 1.0]]]), jnp.ones((2, 1), bool))).round(3).tolist()
    [[0.5, 0.5]]

    Source: Vinyals et al., Matching Networks for One Shot Learning (NeurIPS 2016), equation 1.
    Departures: no full context embeddings; the cosines are scaled, without which the softmax is nearly flat.
    """
    support, query = prepare(support, query, support_mask)
    shots = unit(average(support.vectors, support.weights, 2))
    image = unit(average(query.vectors, query.weights, 1))
    cosine = scale * learned_scale(params) * einsum("qd,cnd->qcn", image, shots)
    cosine = cosine + log_weights(support_mask.astype(cosine.dtype))
    of_class = jax.nn.logsumexp(cosine, -1)
    return of_class - jax.nn.logsumexp(of_class, -1, keepdims=True)
