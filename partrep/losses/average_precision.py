"""Average precision made smooth: each example of the batch queries the others, and its positives shall come first."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from partrep.losses.pairs import Similarity, Terms, check_positive, cosine, over_anchors
from partrep.losses.reduction import mean_where


def smooth_ap(
    embeddings: Any,
    labels: jax.Array,
    temperature: float = 0.01,
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """One less the mean average precision of each example as query, with ranks counted by sigmoids.

        l = mean_q mean_{i in P_q} n_i / (1 + p_i + n_i),    p_i = sum_{j in P_q, j != i} sigmoid((s_qj - s_qi) / T)

    and `n_i` the same sum over the negatives of q: how many positives and negatives come before positive i. As `T`
    falls it becomes one less the average precision, equal similarities counted half.

    Args:
        embeddings: [B,E], or what `similarity` takes: a pytree of arrays [B,...].
        labels: int [B]; positives of a query are the other examples of its label.
        temperature: `T` > 0, in units of the similarity.
        where: bool [B]; a false example is neither query nor candidate, whatever it holds.
        similarity: of two examples, `s`: `cosine` or `aligned_cosine` of `partrep.losses.pairs`, or one of your own.
        block: queries at a time, for memory that grows with B and not with its square; None takes all at once.

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
    Departures: a query is no candidate of its own. In the authors' code it is its own first positive, though a comment
    there says otherwise, which makes the loss smaller; and classes must be of one size and in order, here they need
    not. Positives are ranked one a query at a time, in as many rounds as the query with the most of them needs: time
    grows as that number times `B x B`, and nothing of size `B x B x B` is made.
    """
    check_positive("smooth_ap", temperature=temperature)

    def loss(s: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
        return _smooth(s / temperature, positive, negative)

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
    """One less the mean average precision of each example as query, from a soft histogram of its similarities.

        l = 1 - mean_q 1/|P_q| sum_m h+_m H+_m / H_m,    h_m = sum_j max(0, 1 - |s_qj - c_m| / D)

    with bins from similarity 1 downwards, `c_m = 1 - (m - 1) D`, `D = (1 - lowest) / (M - 1)`; `h+` counts positives
    alone, `H` and `H+` are the sums over the bins up to m.

    Args:
        embeddings: [B,E], or what `similarity` takes: a pytree of arrays [B,...].
        labels: int [B]; positives of a query are the other examples of its label.
        bins: `M` >= 2.
        lowest: the last bin's centre, below 1. Similarities outside [lowest,1] count as at its ends, without gradient.
        where: bool [B]; a false example is neither query nor candidate, whatever it holds.
        similarity: of two examples, `s`: `cosine` or `aligned_cosine` of `partrep.losses.pairs`, or one of your own.
        block: queries at a time, for memory that grows with B and not with its square; None takes all at once.

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
    Departures: a query is no candidate of its own; the code of Revaud et al. leaves that to its caller, who gives the
    matrix of positives. Its bins are over [0,1]: `lowest=0.0`. The tie-aware AP of He et al., in that code a second
    loss, weighs the ranks inside a bin and is another one.
    """
    if bins < 2:
        raise ValueError(f"histogram_ap: bins is {bins}; expected at least 2")
    if not isinstance(lowest, jax.core.Tracer) and not lowest < 1:
        raise ValueError(f"histogram_ap: lowest is {lowest}; expected below 1")
    loss = functools.partial(_histogram, bins, lowest)
    return _mean_over_queries("histogram_ap", loss, embeddings, labels, where, similarity, block)


def _mean_over_queries(function: str, loss: Terms, *batch: Any) -> jax.Array:
    """The mean of `loss(s [b,B], positive [b,B], negative [b,B]) -> [b]` over the queries with a positive."""

    def terms(s: jax.Array, positive: jax.Array, negative: jax.Array) -> tuple[jax.Array, jax.Array]:
        return loss(s, positive, negative), jnp.any(positive, axis=1)

    return mean_where(*over_anchors(function, terms, *batch))


@jax.custom_vjp
def _smooth(s: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
    """`mean_{i in P} n_i / (1 + p_i + n_i)` of each row, 0 where it has no positive; [b]."""
    term, rounds, share = _rounds(positive, negative)
    total = jax.lax.fori_loop(0, rounds, lambda r, total: total + term(s, r), jnp.zeros(len(s)))
    return total * share


def _smooth_forward(s: jax.Array, positive: jax.Array, negative: jax.Array):
    # a loop of unknown length has no reverse: the gradient is summed up beside the value
    term, rounds, share = _rounds(positive, negative)

    def add(r, sums):
        value, pull = jax.vjp(lambda x: term(x, r), s)
        return sums[0] + value, sums[1] + pull(jnp.ones(len(s)))[0]

    total, gradient = jax.lax.fori_loop(0, rounds, add, (jnp.zeros(len(s)), jnp.zeros_like(s)))
    return total * share, gradient * share[:, None]


def _smooth_backward(gradient: jax.Array, cotangent: jax.Array):
    return cotangent[:, None] * gradient, None, None


_smooth.defvjp(_smooth_forward, _smooth_backward)


def _rounds(positive: jax.Array, negative: jax.Array):
    """The share of wrong ones before the r-th positive of each row, the most positives of a row, and 1 / |P|."""
    order = jnp.argsort(~positive, axis=1, stable=True)
    count = jnp.sum(positive, axis=1)

    def term(s: jax.Array, r: jax.Array) -> jax.Array:
        target = jnp.arange(s.shape[1]) == jax.lax.dynamic_slice_in_dim(order, r, 1, axis=1)
        ahead = jax.nn.sigmoid(s - jnp.sum(jnp.where(target, s, 0.0), axis=1, keepdims=True))
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
