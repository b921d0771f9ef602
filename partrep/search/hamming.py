"""Exact search over packed binary codes by Hamming distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from partrep.search.exact import QUERIES, filled, gathered
from partrep.search.select import MOST, TILE, Best, largest, merged, nothing

BLOCK = 32768
"""Codes of the database at once."""

MOST_BITS = 1 << 24
"""Distances up to here are whole numbers in float32."""


def pack(codes) -> np.ndarray:
    """Binary codes [n,bits] of {0, 1}, {-1, 1} or booleans, positive as 1, packed eight to a byte: u8 [n,bytes].

    >>> pack([[1, -1, -1, -1, -1, -1, -1, 1, 1]]).tolist()
    [[129, 128]]
    """
    codes = np.asarray(codes)
    if codes.ndim != 2:
        raise ValueError(f"codes of shape {codes.shape}; expected [n,bits]")
    return np.packbits(codes > 0, axis=1)


def search(queries, database, k: int, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """The k codes of a database with the fewest bits other than a query's; of equal ones the lower id first.

    `d(q, x) = sum_w popcount(q_w xor x_w)` over the words of a code.

    Args:
        queries: u8 or u32 [Q,W], packed codes, as of `pack`.
        database: the same type, [N,W] with N >= 1, as an array or memory-mapped.
        k: >= 1. Above N, the rest is filled up.
        block: codes of the database at once.

    Returns:
        Distances i32 [Q,k] in bits, the smallest first, and ids i64 [Q,k], rows of the database. Behind the N-th:
        id -1 and distance -1.

    Raises:
        ValueError: not two axes, other types, different widths, no rows, k < 1.

    Example:
        >>> distances, ids = search(pack([[1, 1, 0]]), pack([[0, 0, 0], [1, 1, 1], [0, 1, 0]]), 2)
        >>> distances.tolist(), ids.tolist()
        ([[1, 1]], [[1, 2]])

    Source: Norouzi et al., Fast exact search in Hamming space with multi-index hashing, 2014, the linear scan.
    Departures: none.
    """
    queries, database = np.asarray(queries), np.asanyarray(database)
    _check(queries, database, k, block)
    if not len(queries):
        return np.zeros((0, k), np.int32), np.zeros((0, k), np.int64)
    batches = [filled(queries[i : i + QUERIES]) for i in range(0, len(queries), QUERIES)]
    found = [nothing(len(batch), k) for batch in batches]
    block = min(block, -(-len(database) // TILE) * TILE)
    for first in range(0, len(database), block):
        rows = np.asarray(database[first : first + block])
        padded = np.pad(rows, ((0, block - len(rows)), (0, 0)))
        jax.block_until_ready(found)  # so that blocks read from disk do not pile up
        found = [_step(best, batch, padded, first, len(rows)) for best, batch in zip(found, batches)]
    scores, ids = gathered(found, len(queries))
    return np.where(ids < 0, -1, -scores).astype(np.int32), ids


def _check(queries: np.ndarray, database: np.ndarray, k: int, block: int) -> None:
    for name, codes in (("queries", queries), ("database", database)):
        if codes.ndim != 2 or codes.dtype not in (np.uint8, np.uint32):
            raise ValueError(f"{name}: {codes.dtype} of shape {codes.shape}; expected packed u8 or u32 [n,words]")
    if queries.shape[1] != database.shape[1] or queries.dtype != database.dtype:
        found = f"queries {queries.dtype} of {queries.shape[1]} words, database {database.dtype} of {database.shape[1]}"
        raise ValueError(f"{found}; expected codes of one length and type")
    if not 1 <= len(database) <= MOST or queries.shape[1] * queries.dtype.itemsize * 8 > MOST_BITS:
        raise ValueError(f"a database of shape {database.shape}; expected 1 <= N < 2^31 codes of at most 2^24 bits")
    if k < 1 or block < 1:
        raise ValueError(f"k={k}, block={block}; expected at least 1")


@jax.jit
def _step(best: Best, queries: jax.Array, codes: jax.Array, first: jax.Array, count: jax.Array) -> Best:
    """The best after one more block of codes, the first of which has the id `first` and `count` of which are real."""

    def add(distance: jax.Array, word: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        query, code = word
        different = jax.lax.population_count(query[:, None] ^ code[None])
        return distance + different.astype(jnp.int32), None

    zero = jnp.zeros((len(queries), len(codes)), jnp.int32)
    distance, _ = jax.lax.scan(add, zero, (queries.T, codes.T))
    scores = jnp.where(jnp.arange(len(codes)) < count, 0.0 - distance.astype(jnp.float32), -jnp.inf)
    values, at = largest(scores, min(best.scores.shape[1], len(codes)))
    return merged(best, values, at + first)
