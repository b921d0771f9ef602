"""Few-shot heads that rebuild the query from each class's local vectors: FRN (ridge) and CTX (attention)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, cholesky

from partrep import UserError
from partrep.models.heads.episode import (
    Params,
    average,
    einsum,
    flatten_shots,
    learned_scale,
    log_weights,
    prepare,
)
from partrep.models.local import Local


def init_frn(key: jax.Array, width: int) -> Params:
    """The logarithms of FRN's ridge, recalibration and temperature factors, all zero at first."""
    return {"alpha": jnp.zeros(()), "beta": jnp.zeros(()), "log_scale": jnp.zeros(())}


def _root(weights: jax.Array) -> jax.Array:
    """Square roots of weights >= 0, with a zero gradient at zero."""
    there = weights > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, weights, 1.0)), 0.0)


def _rebuild_primal(query: jax.Array, rows: jax.Array, ridge: jax.Array) -> jax.Array:
    """Q S'S (S'S + ridge I)^-1 by d x d systems: [Q,s,D], [C,R,D], [C] -> [Q,C,s,D]."""
    gram = einsum("crd,cre->cde", rows, rows)
    factor = cholesky(gram + ridge[:, None, None] * jnp.eye(gram.shape[-1]), lower=True)
    # A symmetric matrix commutes with the inverse of its shifted self.
    hat = jax.vmap(lambda f, g: cho_solve((f, True), g))(factor, gram)
    return einsum("qsd,cde->qcse", query, hat)


def _rebuild_dual(query: jax.Array, rows: jax.Array, ridge: jax.Array) -> jax.Array:
    """Q S' (SS' + ridge I)^-1 S by R x R systems: [Q,s,D], [C,R,D], [C] -> [Q,C,s,D]."""
    gram = einsum("crd,cud->cru", rows, rows)
    factor = cholesky(gram + ridge[:, None, None] * jnp.eye(gram.shape[-1]), lower=True)
    solved = jax.vmap(lambda f, s: cho_solve((f, True), s))(factor, rows)
    return einsum("qcsr,cre->qcse", einsum("qsd,crd->qcsr", query, rows), solved)


def frn(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 1.0,
    form: str = "auto",
) -> jax.Array:
    """Feature map reconstruction: how well ridge regression on a class's local vectors rebuilds the query's.

        rebuilt_c = rho Q S'S (S'S + lambda I)^-1 = rho Q S' (SS' + lambda I)^-1 S
        logit_qc = -scale * mean_p |Q_p - rebuilt_cp|^2,   lambda = (R / D) e^alpha,   rho = e^beta

    S holds the local vectors of all shots of the class, each times the root of its weight, and R is the sum
    of those weights; the mean over the query's vectors is weighted. Vectors are first divided by sqrt(D).

    Arguments:
        support, query, support_mask: see `partrep.models.heads.episode`.
        params: {"alpha", "beta", "log_scale"}; None for all zero.
        scale: > 0.
        form: "primal" solves D x D systems, "dual" R x R, "auto" the smaller.

    Raises:
        UserError: another form.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[2.0]]], [[[0.0]]]])
    >>> frn(support, one([[[2.0]]]), jnp.ones((2, 1), bool)).round(3).tolist()   # 2 * 4 / (4 + 1) = 1.6
    [[-0.1600000113248825, -4.0]]

    Source: Wertheimer et al., Few-Shot Classification with Feature Map Reconstruction Networks (CVPR 2021),
    section 3. Departures: weights; the temperature is the exponential of its parameter, so positive.
    """
    if form not in ("auto", "primal", "dual"):
        raise UserError(f"form {form!r}; expected 'auto', 'primal' or 'dual'")
    support, query = prepare(support, query, support_mask)
    support = flatten_shots(support)
    width = query.vectors.shape[-1]
    params = params or init_frn(jax.random.key(0), width)
    rows = support.vectors * _root(support.weights)[..., None] * width**-0.5
    vectors = query.vectors * width**-0.5
    ridge = jnp.maximum(support.weights.sum(-1), 1e-6) / width * jnp.exp(params["alpha"])
    primal = form == "primal" or (form == "auto" and rows.shape[1] > width)
    rebuilt = (_rebuild_primal if primal else _rebuild_dual)(vectors, rows, ridge)
    error = ((vectors[:, None] - jnp.exp(params["beta"]) * rebuilt) ** 2).sum(-1)
    weights = jnp.broadcast_to(query.weights[:, None], error.shape)
    return -scale * learned_scale(params) * average(error, weights, 2)


def init_ctx(key: jax.Array, width: int, projected: int = 128) -> Params:
    """CTX's three projections [width,projected], normal with variance 1 / width, and the scale."""
    draws = jax.random.normal(key, (3, width, projected)) * width**-0.5
    return {"query": draws[0], "key": draws[1], "value": draws[2], "log_scale": jnp.zeros(())}


def ctx(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 1.0,
) -> jax.Array:
    """CrossTransformer: each query vector attends over a class's local vectors and meets what it gets.

        a_pj = softmax_j( <W_q q_p, W_k s_j> / sqrt(d) + log w_j ),   t_p = sum_j a_pj W_v s_j
        logit_qc = -scale * mean_p |W_v q_p - t_p|^2

    j runs over the local vectors of all shots of class c, w_j are their weights; the mean is weighted.

    Arguments:
        support, query, support_mask: see `partrep.models.heads.episode`.
        params: {"query", "key", "value"} [D,d] and "log_scale"; None for identity projections (d = D).
        scale: > 0.

    Memory: Q * C * s * n * r floats.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0], [1.0, 0.0]]], [[[0.0, 1.0], [0.0, 1.0]]]])
    >>> ctx(support, one([[[1.0, 0.0]]]), jnp.ones((2, 1), bool)).tolist()
    [[-0.0, -2.0]]

    Source: Doersch et al., CrossTransformers (NeurIPS 2020), section 3.2. Departure: weights.
    """
    support, query = prepare(support, query, support_mask)
    support = flatten_shots(support)

    def project(vectors: jax.Array, name: str) -> jax.Array:
        return vectors if params is None else einsum("...d,de->...e", vectors, params[name])

    asked, keys = project(query.vectors, "query"), project(support.vectors, "key")
    score = einsum("qsd,crd->qcsr", asked, keys) * asked.shape[-1] ** -0.5
    attention = jax.nn.softmax(score + log_weights(support.weights)[None, :, None], -1)
    rebuilt = einsum("qcsr,cre->qcse", attention, project(support.vectors, "value"))
    error = ((project(query.vectors, "value")[:, None] - rebuilt) ** 2).sum(-1)
    weights = jnp.broadcast_to(query.weights[:, None], error.shape)
    return -scale * learned_scale(params) * average(error, weights, 2)
