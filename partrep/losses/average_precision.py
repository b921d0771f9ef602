"""Average precision made smooth: each example of the batch queries the others, and its positives shall come first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep.losses.reduction import mean_where
from partrep.losses.unit import cosine
from partrep.shapes import check_shapes

Similarity = Callable[[Any, Any], jax.Array]


def smooth_ap(
    embeddings: Any,
    labels: jax.Array,
    temperature: float = 0.01,
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """One less the mean average precision, ranks counted by sigmoids, `l = mean_q mean_{i in P_q} n_i / (1 + p_i + n_i)`.

    `p_i = sum_{j in P_q, j != i} g((s_qj - s_qi) / T)` counts the positives before positive i, `n_i` the same sum over
    the negatives of q; `g` is the sigmoid. As `T` falls this becomes one less the average precision, with equal
    similarities counted half.

    Args:
        embeddings: [B,E], or any tree of arrays with leading axis B that `similarity` takes.
        labels: int [B]; positives of a query are the other examples of its label.
        temperature: `T` > 0, in units of the similarity.
        where: bool [B]; a false example is neither query nor candidate, whatever it holds.
        similarity: two such trees of sizes b and B to `s` [b,B].
        block: how many queries at a time, so that memory grows as `block x B`, not `B x B`; None takes all at once.
            Value and gradient are the same, the forward pass is computed twice.

    Returns:
        f32 scalar in [0,1) (per batch); 0 where no query has both a positive and a negative. Queries without a positive
        are left out of the mean. Differentiable once, in reverse.

    Raises:
        ValueError: shapes that do not agree, a temperature or block that is not positive.

    Example:
        >>> x, y = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), jnp.array([0, 0, 1])
        >>> round(float(smooth_ap(x, y)), 4)  # the second has a positive at 0.8 and a negative at 0.96
        0.25

    Source: Smooth-AP (Brown et al. 2020), T = 0.01.
    Departures: a query is no candidate of its own. In the authors' code it is its own first positive, though its comment
    says otherwise, which makes the loss smaller; there classes must be of one size and in order, here they need not.
    One positive of each query is ranked at a time, in as many rounds as the query with the most positives needs: time
    grows as that number times `B x B`, and nothing of size `B x B x B` is made.
    """
    if not temperature > 0:
        raise ValueError(f"smooth_ap: temperature is {temperature}; expected a positive number")
    loss = functools.partial(_smooth, float(temperature))
    return _mean_over_queries("smooth_ap", loss, embeddings, labels, where, similarity, block)


def histogram_ap(
    embeddings: Any,
    labels: jax.Array,
    bins: int = 25,
    lowest: float = -1.0,
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """One less the mean average precision of a soft histogram of similarities, `l = 1 - mean_q sum_m (H+_m / H_m) h+_m / |P_q|`.

    Bins `m` go from similarity 1 downwards; `h_m = sum_j max(0, 1 - |s_qj - c_m| / D)`, `c_m = 1 - (m - 1) D`,
    `D = (1 - lowest) / (M - 1)`; `h+` is the part of the positives, `H` and `H+` the sums over the bins up to m.

    Args:
        embeddings: [B,E], or any tree of arrays with leading axis B that `similarity` takes.
        labels: int [B]; positives of a query are the other examples of its label.
        bins: `M` >= 2.
        lowest: the last bin's centre, below 1. Similarities outside [lowest,1] count as at its ends, without gradient.
        where: bool [B]; a false example is neither query nor candidate, whatever it holds.
        similarity: two such trees of sizes b and B to `s` [b,B].
        block: how many queries at a time, so that memory grows as `block x B`, not `B x B`; None takes all at once.
            Value and gradient are the same, the forward pass is computed twice.

    Returns:
        f32 scalar in [0,1) (per batch); 0 where no query has both a positive and a negative. Queries without a positive
        are left out of the mean.

    Raises:
        ValueError: shapes that do not agree, fewer than two bins, `lowest` not below 1, a block that is not positive.

    Example:
        >>> x, y = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), jnp.array([0, 1, 0])
        >>> round(float(histogram_ap(x, y, bins=3)), 4)  # both queries find the wrong one first
        0.5

    Source: Revaud et al. (2019), Learning with average precision, after He et al. (2018); 25 bins over [-1,1]. FastAP
    (Cakir et al. 2019) is the same with `bins=11`.
    Departures: none from the papers but that a query is no candidate of its own. The code of Revaud et al. has bins over
    [0,1]: `lowest=0.0`; it takes the matrix of positives from its caller, with or without the query. The tie-aware
    variants there and in He et al. are others.
    """
    if bins < 2 or not lowest < 1:
        raise ValueError(f"histogram_ap: bins is {bins}, lowest {lowest}; expected at least 2 and a number below 1")
    loss = functools.partial(_histogram, bins, lowest)
    return _mean_over_queries("histogram_ap", loss, embeddings, labels, where, similarity, block)


def _mean_over_queries(
    function: str,
    loss: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    embeddings: Any,
    labels: jax.Array,
    where: jax.Array | None,
    similarity: Similarity,
    block: int | None,
) -> jax.Array:
    """The mean of `loss(s [b,B], positive [b,B], negative [b,B]) -> [b]` over the queries with a positive."""
    size = check_shapes(function, labels=(labels, "B"), where=(where, "B"))["B"]
    for leaf in jax.tree.leaves(embeddings):
        check_shapes(function, labels=(labels, "B"), **{"embeddings[:,0]": (leaf.reshape(len(leaf), -1)[:, 0], "B")})
    if block is not None and block < 1:
        raise ValueError(f"{function}: block is {block}; expected at least 1, or None")
    labels = jnp.asarray(labels)
    if where is None:
        where = jnp.ones(size, bool)
    else:
        embeddings = jax.tree.map(
            lambda x: jnp.where(where.reshape((-1,) + (1,) * (jnp.ndim(x) - 1)), x, 0), embeddings
        )

    def queries(index: jax.Array) -> tuple[jax.Array, jax.Array]:
        s = similarity(jax.tree.map(lambda x: x[index], embeddings), embeddings).astype(jnp.float32)
        candidate = where & (index[:, None] != jnp.arange(size)) & where[index, None]
        positive = candidate & (labels[index, None] == labels)
        return loss(s, positive, candidate & ~positive), jnp.any(positive, axis=1)

    if block is None or block >= size:
        return mean_where(*queries(jnp.arange(size)))
    # the last block is filled up with the last example, whose repetitions are cut off
    index = np.minimum(np.arange(-(-size // block) * block), size - 1).reshape(-1, block)
    losses, counts = jax.lax.map(jax.checkpoint(queries), jnp.asarray(index))
    return mean_where(losses.reshape(-1)[:size], counts.reshape(-1)[:size])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _smooth(temperature: float, s: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
    """`mean_{i in P} n_i / (1 + p_i + n_i)` of each row, 0 where it has no positive; [b]."""
    term, rounds, share = _rounds(temperature, positive, negative)
    total = jax.lax.fori_loop(0, rounds, lambda r, total: total + term(s, r), jnp.zeros(len(s)))
    return total * share


def _smooth_forward(temperature: float, s: jax.Array, positive: jax.Array, negative: jax.Array):
    # a loop of unknown length has no reverse: the gradient is summed up beside the value
    term, rounds, share = _rounds(temperature, positive, negative)

    def add(r, sums):
        value, pull = jax.vjp(lambda x: term(x, r), s)
        return sums[0] + value, sums[1] + pull(jnp.ones(len(s)))[0]

    total, gradient = jax.lax.fori_loop(0, rounds, add, (jnp.zeros(len(s)), jnp.zeros_like(s)))
    return total * share, gradient * share[:, None]


def _smooth_backward(temperature: float, gradient: jax.Array, cotangent: jax.Array):
    return cotangent[:, None] * gradient, None, None


_smooth.defvjp(_smooth_forward, _smooth_backward)


def _rounds(temperature: float, positive: jax.Array, negative: jax.Array):
    """The share of wrong ones before the r-th positive of each row, the most positives of a row, and 1 / |P|."""
    order = jnp.argsort(~positive, axis=1, stable=True)
    count = jnp.sum(positive, axis=1)

    def term(s: jax.Array, r: jax.Array) -> jax.Array:
        target = jnp.arange(s.shape[1]) == jax.lax.dynamic_slice_in_dim(order, r, 1, axis=1)
        ahead = jax.nn.sigmoid((s - jnp.sum(jnp.where(target, s, 0.0), axis=1, keepdims=True)) / temperature)
        right = jnp.sum(jnp.where(positive & ~target, ahead, 0.0), axis=1)
        wrong = jnp.sum(jnp.where(negative, ahead, 0.0), axis=1)
        return jnp.where(r < count, wrong / (1.0 + right + wrong), 0.0)

    return term, jnp.max(count), 1.0 / jnp.maximum(count, 1)


def _histogram(bins: int, lowest: float, s: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
    """`sum_m h+_m / |P| (H-_m / H_m)` of each row, 0 where it has no positive; [b]."""
    position = (1.0 - jnp.clip(s, lowest, 1.0)) * ((bins - 1) / (1.0 - lowest))

    @jax.checkpoint  # bin after bin, and nothing kept: the weights of all are `bins` times the similarities
    def mass(m: jax.Array) -> tuple[jax.Array, jax.Array]:
        weight = 1.0 - jnp.abs(position - m)
        weight = jnp.where(weight > 0, weight, 0.0)
        return jnp.sum(jnp.where(positive, weight, 0.0), axis=1), jnp.sum(jnp.where(negative, weight, 0.0), axis=1)

    right, wrong = jax.lax.map(mass, jnp.arange(bins, dtype=jnp.float32))
    wrong = jnp.cumsum(wrong, axis=0)
    total = wrong + jnp.cumsum(right, axis=0)
    share = wrong / jnp.where(total > 0, total, 1.0)
    return jnp.sum(right * share, axis=0) / jnp.maximum(jnp.sum(positive, axis=1), 1)
