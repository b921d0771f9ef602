"""Circle loss: every similarity is pushed as hard as it is far from its optimum."""

from __future__ import annotations

from typing import Any

import jax

from partrep.losses.pairs import Similarity, check_positive, cosine, masked_logsumexp, over_anchors, ratio


def circle(
    embeddings: Any,
    labels: jax.Array,
    margin: float = 0.4,
    gamma: float = 80.0,
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """Positives near 1 and negatives near 0, each weighted by its distance from there.

        l = mean_i log(1 + sum_n exp(gamma a_n (s_in - m)) sum_p exp(-gamma a_p (s_ip - 1 + m)))
        a_n = max(0, s_in + m),    a_p = max(0, 1 + m - s_ip)

    The weights `a` get no gradient. The mean is over anchors that have both a positive and a negative.

    Args:
        embeddings: [B,E], or what `similarity` takes: a pytree of arrays [B,...].
        labels: int [B].
        margin: `m`, a similarity, in [0, 1).
        gamma: > 0, the scale.
        where: bool [B]; false examples are ignored, whatever they hold.
        similarity: of two examples, `s`: `cosine` or `aligned_cosine` of `partrep.losses.pairs`, or one of your own
            that is at most 1.
        block: anchors at a time, for memory that grows with B and not with its square; None takes all at once.

    Returns:
        f32 scalar >= 0 (per batch); 0 where no example has both a positive and a negative.

    Raises:
        ValueError: shapes that do not agree, gamma not above 0, a margin out of range, a block below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> round(float(circle(x, jnp.array([0, 0, 1]), margin=0.0, gamma=1.0)), 4)   # log(1 + e^2), log(1 + e)
        1.7201

    Source: Sun et al. 2020, the loss on pair labels; margin 0.4 and gamma 80 for fine-grained retrieval, 0.25 and 256
    for faces and persons.
    Departures: the source has one anchor; here the mean over anchors, as in pytorch-metric-learning, which leaves out
    those that cost 0. Other code (TinyZeaMays/CircleLoss) takes one softplus of all pairs of the batch instead.
    """
    check_positive("circle", gamma=gamma)
    if not isinstance(margin, jax.core.Tracer) and not 0 <= margin < 1:
        raise ValueError(f"circle: margin is {margin}; expected 0 <= m < 1")

    def terms(s: jax.Array, positive: jax.Array, negative: jax.Array) -> tuple[jax.Array, jax.Array]:
        pull, push = jax.lax.stop_gradient((jax.nn.relu(1.0 + margin - s), jax.nn.relu(s + margin)))
        worst_positives = masked_logsumexp(-gamma * pull * (s - 1.0 + margin), positive)
        worst_negatives = masked_logsumexp(gamma * push * (s - margin), negative)
        return jax.nn.softplus(worst_positives + worst_negatives), positive.any(1) & negative.any(1)

    return ratio(*over_anchors("circle", terms, embeddings, labels, where, similarity, block))
