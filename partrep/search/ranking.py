"""Ways to rank a database for queries, each a function from rows of queries to a score of every item."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from partrep.metrics.retrieval import block_similarity
from partrep.search import hamming
from partrep.search.diffusion import diffuse, mutual_graph
from partrep.search.exact import Exact
from partrep.search.expansion import alpha_expansion, average_expansion
from partrep.shapes import check_shapes

MOST = 64
"""Neighbours that are looked for at once, so that ways that use fewer share one search."""

Ranking = Callable[[np.ndarray], np.ndarray]
"""Rows of queries int [b] -> scores [b,N] of the database, larger for more similar, as the metrics take it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Searched:
    """Queries and the database that they are looked up in.

    Attributes:
        database: f32 [N,E].
        queries: f32 [Q,E]; None where the items of the database are the queries, none of which then is a neighbour of
            itself.

    Raises:
        ValueError: arrays that do not fit.
    """

    database: np.ndarray
    queries: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_shapes("Searched", database=(self.database, "N E"), queries=(self.asked, "Q E"))

    @property
    def asked(self) -> np.ndarray:
        """The queries, f32 [Q,E]."""
        return self.database if self.queries is None else self.queries

    def neighbours(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines f32 [Q,count] and rows i64 [Q,count] of the nearest items of each query, itself left out.

        Behind the last item, rows are -1. Raises a `ValueError` at a count that is not 1 to `MOST`.
        """
        if not 1 <= count <= MOST:
            raise ValueError(f"{count} neighbours; expected 1 to {MOST}")
        values, ids = self._nearest
        return values[:, :count], ids[:, :count]

    @functools.cached_property
    def itself(self) -> Searched:
        """The database looked up in itself."""
        return self if self.queries is None else Searched(self.database)

    @functools.cached_property
    def _nearest(self) -> tuple[np.ndarray, np.ndarray]:
        values, ids = Exact.build(self.database).search(self.asked, MOST + 1)
        if self.queries is not None:
            return values, ids
        own = ids == np.arange(len(ids))[:, None]
        kept = np.argsort(own, axis=1, kind="stable")[:, :MOST]  # where copies crowd the item out, all are others
        return np.take_along_axis(values, kept, 1), np.take_along_axis(ids, kept, 1)


def by_cosine(searched: Searched) -> Ranking:
    """Ranks by the cosine of descriptors."""
    return block_similarity(searched.database) if searched.queries is None else _cosines(searched.queries, searched)


def by_average_expansion(searched: Searched, n: int) -> Ranking:
    """Ranks by the cosine with the mean of the query and its n nearest items, see `average_expansion`."""
    _, ids = searched.neighbours(n)
    return _cosines(average_expansion(searched.asked, searched.database, ids), searched)


def by_alpha_expansion(searched: Searched, n: int, alpha: float) -> Ranking:
    """Ranks by the cosine with a weighted mean of the query and its n nearest items, see `alpha_expansion`."""
    values, ids = searched.neighbours(n)
    return _cosines(alpha_expansion(searched.asked, searched.database, values, ids, alpha), searched)


def by_diffusion(searched: Searched, n: int, k: int, alpha: float) -> Ranking:
    """Ranks by what arrives of a query that starts at its n nearest items of a graph of k, see `diffuse`.

    Items that nothing reaches are ranked by their cosine, after all others.
    """
    graph = mutual_graph(*searched.itself.neighbours(k))
    values, ids = searched.neighbours(n)
    plain = by_cosine(searched)

    def scores(rows: np.ndarray) -> np.ndarray:
        arrived = diffuse(graph, values[rows], ids[rows], alpha)
        return np.where(arrived > 0, 1.0 + arrived, plain(rows) / 2)  # cosines are at most one

    return scores


def by_bits(searched: Searched, mean: np.ndarray) -> Ranking:
    """Ranks by how many signs of the entries, less their means f32 [E], are the query's: E bits an image."""
    queries, database = (hamming.pack(x - mean) for x in (searched.asked, searched.database))

    def scores(rows: np.ndarray) -> np.ndarray:
        distances, ids = hamming.search(queries[rows], database, len(database))
        made = np.zeros(distances.shape, np.float32)
        np.put_along_axis(made, ids, -distances.astype(np.float32), 1)
        return made

    return scores


def _cosines(queries: np.ndarray, searched: Searched) -> Ranking:
    count = len(queries)
    similarity = block_similarity(np.concatenate([queries, searched.database]))
    return lambda rows: similarity(rows)[:, count:]
