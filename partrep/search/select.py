"""The k best of many scores, block after block; of equal scores the lower position comes first."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

TILE = 64
"""Neighbouring scores that are looked at together: of 32, 64, 128 and 256 none is faster on a CPU."""

MOST = 2**31 - 1
"""Rows of a database at most: positions are int32."""


class Best(NamedTuple):
    """The best of each query so far: scores f32 [Q,k], the best first, and ids i32 [Q,k]."""

    scores: jax.Array
    ids: jax.Array


@functools.lru_cache(64)  # on the device already when one query is searched for after another
def nothing(queries: int, k: int) -> Best:
    """What is best before anything was seen: -inf, with the id -1."""
    return Best(jnp.full((queries, k), -jnp.inf), jnp.full((queries, k), -1, jnp.int32))


def largest(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k largest scores of each row and where they are, as a stable sort would list them.

    Scores are grouped into tiles of neighbours. An entry among the k largest lies in one of the k tiles whose
    maxima are largest, of equal maxima the earlier tile: every tile before its own holds an entry that comes
    before it. So only k tiles are looked into, and the rest is one pass of maxima.

    Args:
        scores: [Q,N], no NaN and no -0.0 (which XLA sorts below 0.0).
        k: 1 <= k <= N.

    Returns:
        [Q,k] scores from the largest down, and their positions i32 [Q,k].

    Example:
        >>> values, at = largest(jnp.array([[1.0, 3.0, 2.0, 3.0]]), 3)
        >>> values.tolist(), at.tolist()
        ([[3.0, 3.0, 2.0]], [[1, 3, 2]])

    Source: selection by the maxima of groups, as in Chern et al., TPU-KNN, 2022, section 5, here exact.
    Departures: all of the best k groups are searched, so the recall is one.
    """
    queries, count = scores.shape
    if count % TILE or k * TILE * 2 > count:
        return jax.lax.top_k(scores, k)
    tiles = scores.reshape(queries, -1, TILE)
    _, chosen = jax.lax.top_k(tiles.max(-1), k)
    chosen = jnp.sort(chosen, axis=-1)  # so that positions go up, and of equal scores the lower one is first
    candidates = jnp.take_along_axis(tiles, chosen[..., None], axis=1).reshape(queries, -1)
    values, at = jax.lax.top_k(candidates, k)
    return values, jnp.take_along_axis(chosen, at // TILE, axis=-1) * TILE + at % TILE


def merged(best: Best, scores: jax.Array, ids: jax.Array) -> Best:
    """The best of what was best so far and of a later block, scores [Q,m] with ids [Q,m] in order of both."""
    values, at = jax.lax.top_k(jnp.concatenate([best.scores, scores], 1), best.scores.shape[1])
    together = jnp.take_along_axis(jnp.concatenate([best.ids, ids], 1), at, axis=1)
    return Best(values, jnp.where(values == -jnp.inf, -1, together))
