"""DeepEMD: the earth mover's distance between local vectors, by Sinkhorn iterations in the log domain."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.models.heads.episode import (
    NEGATIVE,
    Params,
    average,
    clean,
    einsum,
    learned_scale,
    log_weights,
    prepare,
    unit,
)
from partrep.models.local import Local


def sinkhorn(
    cost: jax.Array, rows: jax.Array, columns: jax.Array, epsilon: float = 0.05, iterations: int = 50
) -> jax.Array:
    """Entropic optimal transport: the plan of least <plan, cost> - epsilon * entropy with the given margins.

    Arguments:
        cost: [...,s,R].
        rows, columns: margins [...,s] and [...,R], >= 0, of equal sums; zero rows and columns get no flow.
        epsilon: > 0, in units of the cost.
        iterations: of the alternating projections; the columns are exact after the last.

    Returns:
        the plan [...,s,R].

    >>> plan = sinkhorn(jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.full(2, 0.5), jnp.full(2, 0.5))
    >>> plan.round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]

    Source: Cuturi, Sinkhorn Distances (NeurIPS 2013), algorithm 1; log domain as in Peyre and Cuturi,
    Computational Optimal Transport (2019), section 4.4.
    """
    log_rows, log_columns = log_weights(rows), log_weights(columns)
    there = (rows > 0)[..., :, None] & (columns > 0)[..., None, :]
    kernel = jnp.where(there, -cost / epsilon, NEGATIVE)

    def project(score: jax.Array, log_margin: jax.Array, axis: int) -> jax.Array:
        potential = log_margin - jax.nn.logsumexp(score, axis)
        return jnp.where(log_margin > NEGATIVE / 2, potential, 0.0)

    def step(v: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        u = project(kernel + v[..., None, :], log_rows, -1)
        return project(kernel + u[..., :, None], log_columns, -2), u

    v, us = jax.lax.scan(step, jnp.zeros_like(columns), None, length=iterations)
    return jnp.where(there, jnp.exp(kernel + us[-1][..., :, None] + v[..., None, :]), 0.0)


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
        epsilon, iterations: see `sinkhorn`.

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
    plan = sinkhorn(1 - cosine, of_query, jnp.swapaxes(of_class, 0, 1), epsilon, iterations)
    return scale * learned_scale(params) * (plan * cosine).sum((-2, -1))
