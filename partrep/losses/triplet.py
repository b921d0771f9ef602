"""Triplets: an anchor is nearer to an example of its class than to one of another, by a margin."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from partrep.losses.pairs import Similarity, check_choice, cosine, over_anchors, ratio

LARGEST = 2**31 - 1


def triplet(
    embeddings: Any,
    labels: jax.Array,
    margin: float = 0.1,
    mining: str = "all",
    average: str = "all",
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """The positive is nearer than the negative, by a margin of squared distances.

        l = mean of max(0, m + d_ap^2 - d_an^2) / 2 over triplets (a, p, n),    d^2 = 2 - 2 s

    so that a triplet costs `max(0, m/2 + s_an - s_ap)`. Nothing of size [B,B,B] is made: `all` and `semi_hard` sort
    the row of each anchor once, in O(B log B), and count in it.

    Args:
        embeddings: [B,E], or what `similarity` takes: a pytree of arrays [B,...].
        labels: int [B].
        margin: `m`, in squared distance, of unit vectors for `cosine`.
        mining: which triplets. `all` of them; `semi_hard`, for each anchor and positive the nearest negative that is
            strictly farther than the positive, and none where no negative is; `hard`, for each anchor its farthest
            positive and its nearest negative.
        average: `all` is the mean over these triplets, `nonzero` over those among them that cost something.
        where: bool [B]; false examples are ignored, whatever they hold.
        similarity: of two examples, `s`: `cosine`, `euclidean_similarity` (d is then the distance of the vectors as
            they are) or `aligned_cosine` of `partrep.losses.pairs`, or one of your own.
        block: anchors at a time, for memory that grows with B and not with its square; None takes all at once.

    Returns:
        f32 scalar >= 0 (per batch); 0 where there is no triplet.

    Raises:
        ValueError: shapes that do not agree, another `mining` or `average`, a block below 1.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> round(float(triplet(x, jnp.array([0, 0, 1]))), 4)   # two triplets: 0.05 + 1 - 0 and 0.05 + 0 - 0
        0.55

    Source: Gordo et al. 2016 (half, squared distances, margin 0.1); semi-hard: Schroff et al. 2015 (FaceNet); hard:
    Hermans et al. 2017, batch hard.
    Departures: a mean over triplets, where FaceNet and the code of Radenovic et al. 2019 sum; the latter has no half.
    Hermans et al. take distances not squared and find `nonzero` better for `all`; it is the default of
    pytorch-metric-learning, whose semi-hard triplets are all with `0 < d_an - d_ap <= m`. TensorFlow Addons adds, for
    pairs that have no semi-hard negative, the negative that is farthest. Equal distances share the gradient of `hard`.
    """
    check_choice("triplet", "mining", mining, tuple(MINING))
    check_choice("triplet", "average", average, ("all", "nonzero"))

    def terms(s: jax.Array, positive: jax.Array, negative: jax.Array) -> tuple[jax.Array, jax.Array]:
        cost, triplets, nonzero = MINING[mining](s, positive, negative, 0.5 * margin)
        return cost, nonzero if average == "nonzero" else triplets

    return ratio(*over_anchors("triplet", terms, embeddings, labels, where, similarity, block))


def _ordered(x: jax.Array) -> jax.Array:
    """int32 in the same order as f32 `x`, equal zeros included: integers sort several times faster on a CPU."""
    bits = jax.lax.bitcast_convert_type(jnp.where(x == 0, 0.0, x), jnp.int32)
    return jnp.where(bits < 0, bits ^ LARGEST, bits)


def _rank(row: jax.Array, values: jax.Array) -> jax.Array:
    """How many entries of each sorted row [b,B] are below each of the values [b,B]."""
    return jax.vmap(jnp.searchsorted)(row, values)


def _all(
    s: jax.Array, positive: jax.Array, negative: jax.Array, half: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each anchor's sum of `max(0, m/2 + s_n - s_p)` over all p and n, their number, and of those above 0.

    In the sorted row of `s_n` and `s_p - m/2` a triplet costs something where its negative comes after its positive.
    So the sum is linear in the similarities, with counts as weights, which are constant between two orders.
    """
    chosen = positive | negative
    keys = s - jnp.where(positive, half, 0.0)
    # The last bit says the kind. Negatives come first where keys are equal, up to that bit, which costs nothing.
    packed = jnp.where(chosen, (_ordered(keys) & ~1) | positive, LARGEST)
    row = jnp.sort(packed, axis=1)
    rank, is_positive = _rank(row, packed), row & 1
    positives_before = jnp.take_along_axis(jnp.cumsum(is_positive, axis=1) - is_positive, rank, axis=1)
    negatives_after = negative.sum(1, keepdims=True) - (rank - positives_before)
    weights = jnp.where(negative, positives_before, 0) - jnp.where(positive, negatives_after, 0)
    middle = jnp.sum(jnp.where(chosen, keys, 0.0), axis=1) / jnp.maximum(chosen.sum(1), 1)
    keys = keys - jax.lax.stop_gradient(middle)[:, None]  # weights sum to 0, so that this cancels; it saves digits
    nonzero = jnp.where(positive, negatives_after, 0).sum(1)
    return (weights * keys).sum(1), positive.sum(1) * negative.sum(1), nonzero


def _semi_hard(
    s: jax.Array, positive: jax.Array, negative: jax.Array, half: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each anchor's sum over positives with the first negative below them in the sorted row, and their numbers."""
    keys = jnp.where(negative, _ordered(s), LARGEST)
    order = jnp.argsort(keys, axis=1)
    below = _rank(jnp.take_along_axis(keys, order, axis=1), _ordered(s))  # negatives strictly farther
    found = positive & (below > 0)
    nearest = jnp.take_along_axis(order, jnp.maximum(below - 1, 0), axis=1)
    cost = jnp.where(found, jax.nn.relu(half + jnp.take_along_axis(s, nearest, axis=1) - s), 0.0)
    return cost.sum(1), found.sum(1), (cost > 0).sum(1)


def _hard(
    s: jax.Array, positive: jax.Array, negative: jax.Array, half: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each anchor's farthest positive with its nearest negative, and whether it has both."""
    both = positive.any(1) & negative.any(1)
    farthest = jnp.where(both, jnp.min(jnp.where(positive, s, jnp.inf), axis=1), 0.0)
    nearest = jnp.where(both, jnp.max(jnp.where(negative, s, -jnp.inf), axis=1), 0.0)
    cost = jnp.where(both, jax.nn.relu(half + nearest - farthest), 0.0)
    return cost, both, cost > 0


MINING = {"all": _all, "semi_hard": _semi_hard, "hard": _hard}
