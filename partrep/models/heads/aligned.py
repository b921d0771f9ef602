"""The part-aligned few-shot head: same part meets same part, and the parts must lie alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.models.heads.episode import Params, average, einsum, prepare, unit
from partrep.models.local import Local


def init_aligned(key: jax.Array, width: int) -> Params:
    """Learned factors of the logits and of the geometry term, both one at first."""
    return {"log_scale": jnp.zeros(()), "log_geometry": jnp.zeros(())}


def fit_positions(source: jax.Array, target: jax.Array, weights: jax.Array, align: str) -> jax.Array:
    """What is left of `target` after the best placement of `source` on it: residuals [...,r,2].

    The placement minimises sum_k weights_k |target_k - (a * source_k + b)|^2, positions read as complex
    numbers: b free ("translation", a = 1) or a and b free ("similarity": turned, scaled and moved; closed
    form a = sum w conj(s) t / sum w |s|^2 about the weighted means), or neither ("none").

    Arguments:
        source, target: positions (y, x), [...,r,2].
        weights: [...,r] >= 0.
        align: "none", "translation" or "similarity".

    >>> square = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    >>> turned = 0.5 * square[:, ::-1] * jnp.array([1.0, -1.0]) + 3.0
    >>> bool(jnp.allclose(fit_positions(square, turned, jnp.ones(4), "similarity"), 0.0, atol=1e-6))
    True
    """
    if align == "none":
        return target - source
    axis = weights.ndim - 1
    source = source - jnp.expand_dims(average(source, weights, axis), axis)
    target = target - jnp.expand_dims(average(target, weights, axis), axis)
    if align == "translation":
        return target - source
    if align != "similarity":
        raise UserError(f"align {align!r}; expected 'none', 'translation' or 'similarity'")
    (sy, sx), (ty, tx) = (jnp.moveaxis(p, -1, 0) for p in (source, target))
    size = jnp.maximum((weights * (sy**2 + sx**2)).sum(-1, keepdims=True), 1e-12)
    same = (weights * (sy * ty + sx * tx)).sum(-1, keepdims=True) / size
    across = (weights * (sy * tx - sx * ty)).sum(-1, keepdims=True) / size
    return jnp.stack([ty - (same * sy - across * sx), tx - (same * sx + across * sy)], -1)


def _unit_whole(vectors: jax.Array) -> jax.Array:
    """All parts of an image side by side at length one: [...,r,D] -> [...,r,D]."""
    return unit(vectors.reshape(*vectors.shape[:-2], -1)).reshape(vectors.shape)


def _displacement(support: Local, query: Local, support_mask: jax.Array, align: str) -> jax.Array:
    """Weighted squared residuals [Q,C,r] of the part positions, averaged over the shots of each class."""
    together = query.weights[:, None, None] * support.weights[None]
    shape = (*together.shape, 2)
    source = jnp.broadcast_to(support.positions[None], shape)
    target = jnp.broadcast_to(query.positions[:, None, None], shape)
    square = (fit_positions(source, target, together, align) ** 2).sum(-1)
    share = together / jnp.maximum(together.sum(-1, keepdims=True), 1e-12)
    shots = jnp.broadcast_to(support_mask.astype(share.dtype), together.shape[:3])
    return average(share * square, shots, 2)


def aligned_contributions(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 10.0,
    geometry: float = 5.0,
    align: str = "translation",
    weighting: str = "presence",
) -> jax.Array:
    """What each part adds to each logit of `aligned`: f32 [Q,C,r], summing over r to the logits exactly.

    Arguments and errors as for `aligned`.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0], [0.0, 1.0]]]])
    >>> aligned_contributions(support, one([[[1.0, 0.0], [1.0, 0.0]]]), jnp.ones((1, 1), bool)).tolist()
    [[[5.0, 0.0]]]
    """
    support, query = prepare(support, query, support_mask)
    if support.vectors.shape[2] != query.vectors.shape[1]:
        raise UserError(
            f"{support.vectors.shape[2]} parts in the support and {query.vectors.shape[1]} in the query; "
            "expected the same parts in both"
        )
    template = average(support.vectors, support.weights, 1)
    presence = average(support.weights, jnp.broadcast_to(support_mask[..., None], support.weights.shape), 1)
    together = query.weights[:, None] * presence[None]
    if weighting == "presence":
        share = together / jnp.maximum(together.sum(-1, keepdims=True), 1e-12)
        score = share * einsum("qrd,crd->qcr", unit(query.vectors), unit(template))
    elif weighting == "length":
        score = einsum("qrd,crd->qcr", _unit_whole(query.vectors), _unit_whole(template))
    else:
        raise UserError(f"weighting {weighting!r}; expected 'presence' or 'length'")
    factor = 1.0 if params is None else jnp.exp(params["log_geometry"])
    if geometry:
        score = score - geometry * factor * _displacement(support, query, support_mask, align)
    return scale * (1.0 if params is None else jnp.exp(params["log_scale"])) * score


def aligned(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 10.0,
    geometry: float = 5.0,
    align: str = "translation",
    weighting: str = "presence",
) -> jax.Array:
    """Part-aligned head: appearance of each part against the same part, less how far parts lie apart.

        logit_qc = scale * ( sum_k w_qck cos(q_k, p_ck)  -  geometry * mean_i sum_k w_qcik |e_qcik|^2 )

    p_ck is the weighted mean of part k over the shots of class c; w_qck is the product of the presences of
    part k in both, divided by its sum over k; e_qcik is what the best placement of shot i's part positions on
    the query's leaves at part k (`fit_positions`), so the term sees only how parts lie relative to each
    other. A pair without a common part scores zero.

    Arguments:
        support, query, support_mask, params: see `partrep.models.heads.episode`; both sides have the same r
            parts in the same order, weights are presences in [0,1].
        scale: > 0.
        geometry: >= 0, of squared distances in units of the image's side; zero leaves positions out.
        align: "none", "translation" or "similarity", the placements that cost nothing.
        weighting: "presence", or "length", where the parts side by side are one vector whose cosine is taken,
            so that part k counts as <q_k, p_ck> / (|q| |p_c|): long vectors count more.

    Raises:
        UserError: different numbers of parts, or another `align` or `weighting`.

    >>> one = lambda v, p: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.array(p))
    >>> support = one([[[[1.0, 0.0], [0.0, 1.0]]]], [[[[0.2, 0.2], [0.2, 0.6]]]])
    >>> query = one([[[1.0, 0.0], [0.0, 1.0]]], [[[0.5, 0.3], [0.5, 0.9]]])
    >>> aligned(support, query, jnp.ones((1, 1), bool)).round(3).tolist()   # 10 * (1 - 5 * 0.1**2)
    [[9.5]]

    Source: this project.
    """
    return aligned_contributions(
        support, query, support_mask, params, scale=scale, geometry=geometry, align=align, weighting=weighting
    ).sum(-1)
