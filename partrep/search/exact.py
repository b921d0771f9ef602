"""Exact nearest-neighbour search by blocks of the database: cosine, dot product or Euclidean distance."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from partrep.search import host
from partrep.search.select import MOST, TILE, Best, largest, merged, nothing

SIMILARITIES = ("cosine", "dot", "euclidean")

BLOCK = 16384
"""Rows of the database at once; with `QUERIES` queries their scores take 8 MB, and a larger block is not faster."""

QUERIES = 128
"""Queries at once."""

SLACK = 8
"""Neighbours kept above k until their Euclidean distances are computed from differences."""


class Blocks(NamedTuple):
    """Rows of a database on the device, as they are compared, some blocks of one size.

    Attributes:
        rows: f32 [n,b,D], of length one for cosines; zeros behind the last.
        offsets: f32 [n,b], added to dot products: `-|x|^2 / 2` for distances, -inf behind the last row.
    """

    rows: jax.Array
    offsets: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Exact:
    """A database on the device, for many searches; made by `Exact.build`.

    Attributes:
        blocks: all its rows.
        count: how many of them are real.
        similarity: one of `SIMILARITIES`.
    """

    blocks: Blocks
    count: int
    similarity: str

    @classmethod
    def build(cls, database, similarity: str = "cosine", block: int = BLOCK) -> Exact:
        """Puts a database [N,D] on the device; arguments as of `search`."""
        database = _rows(database)
        _check(database, similarity, block)
        block = _fitted(block, len(database))
        blocks = _put(database, 0, -(-len(database) // block), block, similarity)
        return cls(blocks, len(database), similarity)

    def search(self, queries, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k rows nearest to each of the queries [Q,D]: values f32 [Q,k] and ids i64 [Q,k], as of `search`.

        One query among few rows on a CPU is compared by NumPy, which is two to three times as fast there.
        """
        _check_queries(queries, self.blocks.rows.shape[2], k)
        if len(queries) == 1 and self._on_host is not None:
            return _one(_finite(queries), self._on_host, k, self.similarity)
        return _search(queries, (self.blocks,), k, self.similarity)

    @functools.cached_property
    def _on_host(self) -> host.Rows | None:
        """The same memory as arrays of the host, where the device is one CPU and the rows are few."""
        rows, offsets = self.blocks
        if rows.size > host.MOST or [device.platform for device in rows.devices()] != ["cpu"]:
            return None
        flat = np.asarray(rows).reshape(-1, rows.shape[-1])[: self.count]
        length = np.sqrt(np.square(flat, dtype=np.float64).sum(1).max())
        return host.Rows(flat, np.asarray(offsets).ravel()[: self.count], float(length))


def search(
    queries, database, k: int, similarity: str = "cosine", block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of a database that are nearest to each query, the nearest first; of equal ones the lower id first.

    `cos(q, x)` and `q . x` from the largest down, `|q - x|` from the smallest up. The database is read once, block
    by block, so it may be memory-mapped and larger than memory; for a second search of the same one, `Exact` keeps
    it on the device. One program is compiled for a block, k and a width of the batch of queries.

    Args:
        queries: [Q,D] finite numbers.
        database: [N,D] finite numbers, N >= 1.
        k: >= 1. Above N, the rest is filled up.
        similarity: "cosine", "dot" or "euclidean". A zero vector has cosine 0 with all.
        block: rows of the database at once.

    Returns:
        Values f32 [Q,k]: cosines, dot products or distances; and ids i64 [Q,k], rows of the database. Behind the
        N-th: id -1 with -inf, or inf for distances.

    Raises:
        ValueError: not two axes, different widths, no rows, k < 1, an unknown similarity, numbers that are not finite.

    Example:
        >>> values, ids = search([[2.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [3.0, 0.0]], 2)
        >>> values.tolist(), ids.tolist()
        ([[1.0, 1.0]], [[1, 2]])
        >>> search([[2.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [3.0, 0.0]], 2, "euclidean")[1].tolist()
        [[1, 2]]

    Source: brute force; the selection of the k best is described at `select.largest`.
    Departures: float32 throughout. Distances are computed from differences; which k + 8 rows of a block come into
        question is decided by `q . x - |x|^2 / 2`, whose rounding grows with the norms: of data far from the origin,
        subtract the mean first.
    """
    database = _rows(database)
    _check(database, similarity, block)
    _check_queries(queries, np.shape(database)[1], k)
    return _search(queries, _streamed(database, similarity, block), k, similarity)


def _rows(database):
    """A database that has a shape and gives slices; one that is mapped or on the device stays where it is."""
    return database if hasattr(database, "shape") else np.asarray(database, np.float32)


def _check(database, similarity: str, block: int) -> None:
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}; expected one of {', '.join(SIMILARITIES)}")
    shape = np.shape(database)
    if len(shape) != 2 or not 1 <= shape[0] <= MOST or shape[1] < 1:
        raise ValueError(f"a database of shape {shape}; expected [N,D] with 1 <= N < 2^31 rows and D >= 1")
    if block < 1:
        raise ValueError(f"block={block}; expected at least one row")


def _check_queries(queries, width: int, k: int) -> None:
    shape = np.shape(queries)
    if len(shape) != 2 or shape[1] != width:
        raise ValueError(f"queries of shape {shape}; expected [Q,{width}], as wide as the database")
    if k < 1:
        raise ValueError(f"k={k}; expected at least 1")


def _fitted(block: int, count: int) -> int:
    """Rows of a block: no more than there are, filled up to whole tiles."""
    return min(block, -(-count // TILE) * TILE)


def _streamed(database, similarity: str, block: int) -> Iterator[Blocks]:
    """The blocks of a database one by one, all of one shape."""
    block = _fitted(block, len(database))
    for first in range(0, len(database), block):
        yield _put(database, first, 1, block, similarity)


def _put(database, first: int, blocks: int, block: int, similarity: str) -> Blocks:
    """Some blocks of a database, from a row on, on the device."""
    rows = np.asarray(database[first : first + blocks * block])
    padded = rows if len(rows) == blocks * block else np.pad(rows, ((0, blocks * block - len(rows)), (0, 0)))
    made, finite = _prepared(padded.reshape(blocks, block, -1), len(rows), similarity)
    if not finite:
        bad = first + int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise ValueError(f"row {bad} of the database holds numbers that are not finite")
    return made


@functools.partial(jax.jit, static_argnames="similarity")
def _prepared(rows: jax.Array, count: jax.Array, similarity: str) -> tuple[Blocks, jax.Array]:
    """Blocks whose first `count` rows are real, and whether all are finite."""
    rows = rows.astype(jnp.float32)
    finite = jnp.isfinite(rows).all()
    rows = _unit(rows) if similarity == "cosine" else rows
    offsets = -0.5 * jnp.sum(rows * rows, -1) if similarity == "euclidean" else jnp.zeros(rows.shape[:2])
    place = jnp.arange(offsets.size).reshape(offsets.shape)
    return Blocks(rows, jnp.where(place < count, offsets, -jnp.inf)), finite


def _unit(rows: jax.Array) -> jax.Array:
    """Rows of length one; a zero row stays. Divided by its largest entry first, so that no square overflows."""
    largest_entry = jnp.max(jnp.abs(rows), -1, keepdims=True)
    rows = rows / jnp.where(largest_entry > 0, largest_entry, 1.0)
    squared = jnp.sum(rows * rows, -1, keepdims=True)
    return rows / jnp.sqrt(jnp.where(squared > 0, squared, 1.0))


def _search(queries, groups: Iterable[Blocks], k: int, similarity: str) -> tuple[np.ndarray, np.ndarray]:
    """Searches all blocks for all queries, whose shapes were checked."""
    queries = _finite(queries)
    if not len(queries):
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
    batches = [filled(queries[i : i + QUERIES]) for i in range(0, len(queries), QUERIES)]
    found, first = [nothing(len(batch), k) for batch in batches], 0
    for blocks in groups:
        jax.block_until_ready(found)  # so that blocks read from disk do not pile up
        found = [_pass(best, batch, blocks, first, similarity) for best, batch in zip(found, batches)]
        first += blocks.offsets.size
    values, ids = gathered(found, len(queries))
    return (-values if similarity == "euclidean" else values), ids


def _finite(queries) -> np.ndarray:
    """Queries as f32 [Q,D]."""
    queries = np.asarray(queries, np.float32)
    if not np.isfinite(queries).all():
        raise ValueError("the queries hold numbers that are not finite")
    return queries


def _one(queries: np.ndarray, database: host.Rows, k: int, similarity: str) -> tuple[np.ndarray, np.ndarray]:
    """Searches a database on the host for one query [1,D]."""
    query = queries[0]
    if similarity == "cosine":
        query = query / (np.abs(query).max() or 1.0)  # so that no square overflows
        query = query / (np.sqrt(np.square(query).sum()) or 1.0)
    by_distance = similarity == "euclidean"
    scores, ids = database.search(query, k, by_distance, SLACK)
    lacking = (0, k - len(ids))
    values = np.pad(-scores if by_distance else scores, lacking, constant_values=np.inf if by_distance else -np.inf)
    return values[None].astype(np.float32), np.pad(ids, lacking, constant_values=-1)[None].astype(np.int64)


def gathered(found: Sequence[Best], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores f32 [Q,k] and ids i64 [Q,k] of all batches, without those that fill them up."""
    scores = np.concatenate([np.asarray(best.scores) for best in found])[:count]
    return scores, np.concatenate([np.asarray(best.ids) for best in found])[:count].astype(np.int64)


def filled(queries: np.ndarray) -> np.ndarray:
    """Queries [Q,D] filled up with zeros to one or a multiple of sixteen, so that few programs are compiled."""
    return queries if len(queries) == 1 else np.pad(queries, ((0, -len(queries) % 16), (0, 0)))


@functools.partial(jax.jit, static_argnames="similarity")
def _pass(best: Best, queries: jax.Array, blocks: Blocks, first: jax.Array, similarity: str) -> Best:
    """The best after some more blocks, whose first row has the id `first`."""
    queries = _unit(queries) if similarity == "cosine" else queries
    count, block = blocks.offsets.shape
    k = best.scores.shape[1]

    def step(best: Best, one: tuple[jax.Array, Blocks]) -> tuple[Best, None]:
        values, at = _of_block(queries, one[1], k, similarity)
        return merged(best, values, at + one[0]), None

    return jax.lax.scan(step, best, (first + block * jnp.arange(count), blocks))[0]


def _of_block(queries: jax.Array, block: Blocks, k: int, similarity: str) -> tuple[jax.Array, jax.Array]:
    """The best of one block, rows [b,D]: scores [Q,m] and places [Q,m], m at most k."""
    rows, offsets = block
    products = jnp.matmul(queries, rows.T, precision=jax.lax.Precision.HIGHEST)
    # The barrier keeps XLA on CPUs from fusing product and sum, which would make one query twenty times slower. The
    # sum also turns -0.0 into 0.0.
    scores = jax.lax.optimization_barrier(products) + offsets
    if similarity != "euclidean":
        return largest(scores, min(k, len(offsets)))
    _, at = largest(scores, min(k + SLACK, len(offsets)))
    at = jnp.sort(at, axis=-1)
    difference = queries[:, None] - rows[at]
    distance = jnp.sqrt(jnp.sum(difference * difference, -1))
    return jnp.where(offsets[at] == -jnp.inf, -jnp.inf, 0.0 - distance), at
