"""Multi-similarity: soft sums over an anchor's positives and negatives, of pairs that are informative beside others."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from partrep.losses.pairs import Similarity, check_positive, cosine, masked_logsumexp, over_anchors, ratio


def multi_similarity(
    embeddings: Any,
    labels: jax.Array,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    epsilon: float | None = 0.1,
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """Positives rise above a base similarity, negatives fall below it, the worst of them most.

        l = mean_i 1/alpha log(1 + sum_{p in P_i} exp(-alpha (s_ip - lambda)))
                 + 1/beta  log(1 + sum_{n in N_i} exp( beta (s_in - lambda)))

    `P_i` are the positives with `s_ip < max_n s_in + epsilon`, `N_i` the negatives with `s_in > min_p s_ip - epsilon`:
    those that some pair of the other kind comes near to. Either both are empty or neither is. The choice has no
    gradient.

    Args:
        embeddings: [B,E], or what `similarity` takes: a pytree of arrays [B,...].
        labels: int [B].
        alpha: > 0, sharpness among positives.
        beta: > 0, sharpness among negatives.
        base: `lambda`, a similarity.
        epsilon: the slack of the selection, a static number; None takes all pairs, also of anchors that lack
            one kind.
        where: bool [B]; false examples are ignored, whatever they hold.
        similarity: of two examples, `s`: `cosine`, `euclidean_similarity` or `aligned_cosine` of
            `partrep.losses.pairs`, or one of your own.
        block: anchors at a time, for memory that grows with B and not with its square; None takes all at once.

    Returns:
        f32 scalar >= 0 (per batch), the mean over all examples that count, also those without a pair, which cost
        0; 0 where nothing can be compared.

    Raises:
        ValueError: shapes that do not agree, `alpha` or `beta` not above 0, a block below 1.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])   # the last is alone in its class
        >>> loss = multi_similarity(x, jnp.array([0, 0, 1]), alpha=1.0, beta=1.0)
        >>> round(float(loss), 4)   # (3 log(1 + e^0.5) + log(1 + e^-0.5)) / 3
        1.1321

    Source: Wang et al. 2019, multi-similarity loss and its mining; alpha 2, beta 50, epsilon 0.1. Lambda is 1 in the
    paper, 0.5 in the released code and here.
    Departures: a mean over the batch, as in the released code, whose settings have beta 40; for
    pytorch-metric-learning's choice of pairs too this is the mean. The released code leaves out positives with
    similarity above 1 - 1e-5, which is how it drops the anchor itself; here duplicates are pairs as others, and only
    the anchor is dropped.
    """
    check_positive("multi_similarity", alpha=alpha, beta=beta)

    def terms(s: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
        if epsilon is not None:
            positive, negative = _informative(s, positive, negative, epsilon)
        pull = jax.nn.softplus(masked_logsumexp(-alpha * (s - base), positive))
        push = jax.nn.softplus(masked_logsumexp(beta * (s - base), negative))
        return pull / alpha + push / beta

    of_anchor = over_anchors("multi_similarity", terms, embeddings, labels, where, similarity, block)
    return ratio(of_anchor, jnp.ones(of_anchor.shape) if where is None else jnp.asarray(where, bool))


def _informative(
    s: jax.Array, positive: jax.Array, negative: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array]:
    """The positives below the best negative plus epsilon, and the negatives above the worst positive less epsilon."""
    s = jax.lax.stop_gradient(s)
    best = jnp.max(jnp.where(negative, s, -jnp.inf), axis=1, keepdims=True)
    worst = jnp.min(jnp.where(positive, s, jnp.inf), axis=1, keepdims=True)
    return positive & (s < best + epsilon), negative & (s > worst - epsilon)
