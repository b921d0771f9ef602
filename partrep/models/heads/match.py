"""Which query vector met which support vector, and how much it counted: what a report draws."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from partrep import lookup
from partrep.models.heads.aligned import aligned_contributions
from partrep.models.heads.episode import NEGATIVE, Params, einsum, flatten_shots, prepare, unit
from partrep.models.heads.mutual import mutual_contributions, similarities
from partrep.models.local import Local


@struct.dataclass
class Matches:
    """One line to draw for each query vector and class.

    Attributes:
        shot: i32 [Q,C,s], the support image of the class that the query vector met.
        vector: i32 [Q,C,s], which local vector of that image.
        similarity: f32 [Q,C,s], their cosine.
        amount: f32 [Q,C,s], what the query vector adds to the logit; the sum over s is the logit.
    """

    shot: jax.Array
    vector: jax.Array
    similarity: jax.Array
    amount: jax.Array


def _aligned_matches(
    support: Local, query: Local, support_mask: jax.Array, params: Params | None = None, **settings: Any
) -> Matches:
    """Part k meets part k; of several shots the one where it looks most alike is shown."""
    amount = aligned_contributions(support, query, support_mask, params, **settings)
    support, query = prepare(support, query, support_mask)
    cosine = einsum("qrd,cnrd->qcnr", unit(query.vectors), unit(support.vectors))
    cosine = jnp.where((support.weights > 0)[None], cosine, NEGATIVE)
    shot = cosine.argmax(2)
    best = jnp.maximum(cosine.max(2), -1.0)
    return Matches(shot, jnp.broadcast_to(jnp.arange(shot.shape[2]), shot.shape), best, amount)


def _mutual_matches(
    support: Local, query: Local, support_mask: jax.Array, params: Params | None = None, **settings: Any
) -> Matches:
    """Each query vector meets its best match among the vectors of all shots of the class."""
    amount = mutual_contributions(support, query, support_mask, params, **settings)
    support, query = prepare(support, query, support_mask)
    vectors = support.weights.shape[2]
    flat = flatten_shots(support)
    index = similarities(flat, query, settings.get("geometry", 0.0)).argmax(3)
    cosine = einsum("qsd,crd->qcsr", unit(query.vectors), unit(flat.vectors))
    similarity = jnp.take_along_axis(cosine, index[..., None], -1)[..., 0]
    return Matches(index // vectors, index % vectors, similarity, amount)


MATCHES = {"aligned": _aligned_matches, "mutual": _mutual_matches}


def matches(
    head: str,
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    **settings: Any,
) -> Matches:
    """Which support vector of each class every query vector met, and what that added to the logit.

    Arguments:
        head: "aligned" or "mutual".
        support, query, support_mask, params: see `partrep.models.heads.episode`.
        settings: of the head.

    Raises:
        UserError: a head that does not pair vectors.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0], [0.0, 1.0]]]])
    >>> matches("mutual", support, one([[[0.0, 1.0], [1.0, 0.0]]]), jnp.ones((1, 1), bool)).vector.tolist()
    [[[1, 0]]]
    """
    pair = lookup(MATCHES, head, "head that pairs vectors")
    return pair(support, query, support_mask, params, **settings)
