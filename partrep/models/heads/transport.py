"""DeepEMD: the earth mover's distance between local vectors, by the entropic `transport` of `parts.competition`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.models.heads.episode import Params, average, clean, einsum, learned_scale, prepare, unit
from partrep.models.local import Local
from partrep.parts.competition import transport


def cross_reference(ours: jax.Array, weights: jax.Array, theirs: jax.Array) -> jax.Array:
    """Masses: relu of each vector's dot with the other side's mean, plus 1e-3, times its weight; sum one.

    Arguments:
        ours: [A,r,D]. weights: [A,r]. theirs: the other sides' weighted means, [B,D].

    Returns:
        [A,B,r].

    Source: Zhang et al., DeepEMD (CVPR 2020), the cross-reference mechanism of section 3.
    """
    mass = (jax.nn.relu(einsum("ard,bd->abr", ours, theirs)) + 1e-3) * weights[:, None]
    return mass / jnp.maximum(mass.sum(-1, keepdims=True), 1e-12)


def deepemd(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 12.5,
    epsilon: float = 0.05,
    iterations: int = 50,
) -> jax.Array:
    """DeepEMD: logit = scale * sum_pj plan_pj cos(q_p, s_j), plan the cheapest flow for the cost 1 - cos.

    Each side's masses (sum one) follow `cross_reference`; several shots are averaged vector by vector first.

    Arguments:
        support, query, support_mask, params: see `partrep.models.heads.episode`; vector j of one shot should
            mean what vector j of the next does (same location or same part).
        scale: > 0.
        epsilon, iterations: see `transport`.

    Memory: Q * C * s * r floats, `iterations` times r + s of them kept for the gradient.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0], [0.0, 1.0]]], [[[-1.0, 0.0], [0.0, 1.0]]]])
    >>> deepemd(support, one([[[0.0, 1.0], [1.0, 0.0]]]), jnp.ones((2, 1), bool))[0, 0].round(2).item()
    12.5

    Source: Zhang et al., DeepEMD (CVPR 2020), section 3, temperature 12.5 as released. Departures: Sinkhorn
    in place of the exact linear programme; the mean of the shots in place of a structured layer that is tuned
    from it; weights.
    """
    support, query = prepare(support, query, support_mask)
    shots = jnp.broadcast_to(support_mask[..., None], support.weights.shape).astype(jnp.float32)
    mean = clean(
        Local(
            average(support.vectors, support.weights, 1),
            average(support.weights, shots, 1),
            average(support.positions, support.weights, 1),
        )
    )
    of_query = cross_reference(query.vectors, query.weights, average(mean.vectors, mean.weights, 1))
    of_class = cross_reference(mean.vectors, mean.weights, average(query.vectors, query.weights, 1))
    cosine = einsum("qsd,crd->qcsr", unit(query.vectors), unit(mean.vectors))
    plan = transport(cosine, of_query, jnp.swapaxes(of_class, 0, 1), epsilon, iterations)
    return scale * learned_scale(params) * (plan * cosine).sum((-2, -1))
