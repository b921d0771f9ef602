"""Local matching: how alike two images are part by part, to re-rank what a search of whole images has found.

An image is a set of part codes `z [K,D]`, of any length, and the presence `m [K] >= 0` of each; they may as well be of
locations. A matcher says of two images which part of the first meets which of the second, and what that adds:

    s = 1 / (|m| |m'|) sum over matches (k,l) of m_k m'_l sigma(cos(z_k, z'_l)),    sigma(u) = sign(u) |u|^a for u > t

and 0 for u <= t, so that weak likenesses do not add up to a strong one. An image is like itself by 1, where no two of
its parts are alike.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from partrep.directions import unit
from partrep.losses.pairs import EXACT, SMALLEST_PRESENCE
from partrep.losses.superfeatures import reciprocal_pairs
from partrep.shapes import check_shapes

PAIRS = 2**24
"""Cosines of parts held at once: 64 MB."""
QUERIES = 16
"""Queries at once, where each meets all candidates."""


class Matches(NamedTuple):
    """What the parts of one image met in another.

    Attributes:
        ids: i32 [K], the part of the other image that each part met; -1 where it met none.
        addends: f32 [K], what that adds to the similarity of the images, whose sum is it; 0 where a part met none.
    """

    ids: jax.Array
    addends: jax.Array


Parts = tuple[Any, Any]
"""Codes [n,K,D] of the parts of n images and their presence [n,K]; of one image [K,D] and [K]."""


@dataclasses.dataclass(frozen=True)
class _Selective:
    """The kernel that all matchers share; arguments as of `Aligned`."""

    alpha: float = 3.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not (self.alpha >= 1 and self.threshold >= -1):
            found = f"alpha {self.alpha}, threshold {self.threshold}"
            raise ValueError(f"{type(self).__name__}: {found}; expected alpha from 1 and threshold from -1 on")

    def _addends(self, met: jax.Array, cosines: jax.Array, weights: jax.Array) -> jax.Array:
        """What pairs of parts add where they meet."""
        return jnp.where(met, weights * jnp.sign(cosines) * jnp.abs(cosines) ** self.alpha, 0.0)


@dataclasses.dataclass(frozen=True)
class Aligned(_Selective):
    """Part k meets part k, as the parts of all images come from the same queries: no codebook, and nothing to search.

    Args:
        alpha: `a` >= 1, larger ones trust near parts more; 1 with threshold -1 is the weighted cosine.
        threshold: `t`; parts whose cosine is not above it do not match.

    Example:
        >>> one = jnp.eye(2), jnp.array([1.0, 1.0])
        >>> other = jnp.array([[3.0, 0.0], [0.6, 0.8]]), jnp.array([1.0, 0.0])
        >>> ids, addends = matches(one, other, Aligned())  # 1 / sqrt(2)
        >>> ids.tolist(), [round(addend, 3) for addend in addends.tolist()]
        ([0, -1], [0.707, 0.0])

    Source: the selective match kernel (Tolias, Avrithis and Jegou 2013, equations 9 and 10) with the words of its
    codebook replaced by the parts' indices; alpha 3, threshold 0 as in Tolias et al. 2020 (HOW) and Weinzaepfel et al.
    2022 (FIRe).
    Departures: weights by presence; codes as they are, where those aggregate residuals to a codebook and binarise them.
    """

    axes = ("k", "k")

    def met(self, cosines: jax.Array, weights: jax.Array, axis: int) -> Matches:
        """Of cosines and weights [K,...] of parts of the same index."""
        found = (weights > 0) & (cosines > self.threshold)
        own = jnp.arange(len(cosines)).reshape(-1, *[1] * (cosines.ndim - 1))
        return Matches(jnp.where(found, own, -1), self._addends(found, cosines, weights))


@dataclasses.dataclass(frozen=True)
class Reciprocal(_Selective):
    """Parts meet that are each other's nearest, where no other is nearly as near, whatever their indices.

    Args:
        alpha: `a` >= 1, as of `Aligned`.
        threshold: `t`; parts whose cosine is not above it do not match.
        ratio: > 0, of the distance to the nearest to that of the second nearest, in either image; 1 accepts all.

    Example:
        >>> one = jnp.eye(2), jnp.array([1.0, 1.0])
        >>> turned = jnp.array([[0.0, 3.0], [2.0, 0.0], [-1.0, 0.0]]), jnp.array([1.0, 1.0, 1.0])
        >>> ids, addends = matches(one, turned, Reciprocal())  # 1 / sqrt(6) each
        >>> ids.tolist(), [round(addend, 3) for addend in addends.tolist()]
        ([1, 0], [0.408, 0.408])

    Source: reciprocal neighbours with Lowe's ratio test as super-features are matched (Weinzaepfel et al. 2022), see
    `partrep.losses.superfeatures`; the kernel of `Aligned`.
    Departures: the ratio test is asked of both images, so that their order does not matter, and nothing of the indices.
    """

    ratio: float = 0.9
    axes = ("k", "l")

    def met(self, cosines: jax.Array, weights: jax.Array, axis: int) -> Matches:
        """Of cosines and weights [K,...] of all parts of one image and of another, the latter along an axis."""
        distances = jnp.sqrt(jnp.maximum(2.0 - 2.0 * jax.lax.stop_gradient(cosines), 0.0))
        distances = jnp.where(weights > 0, distances, jnp.inf)
        found = reciprocal_pairs(distances, self.ratio, True, axis) & (cosines > self.threshold)
        ids = jnp.where(found.any(axis), found.argmax(axis), -1)
        return Matches(ids, self._addends(found, cosines, weights).sum(axis))


Matcher = Aligned | Reciprocal
"""Which part of one image meets which of another; a program is compiled for each."""


def _matches(first: Parts, second: Parts, matcher: Matcher, one: str, other: str) -> Matches:
    """Of images along an axis of either side, or none, arrays [K,...] over both; axes of one letter go together."""
    # The barriers keep XLA on CPUs from doing things again for each pair; six times faster, as are parts in front.
    (z, m), (z2, m2) = jax.lax.optimization_barrier((_prepared(first), _prepared(second)))
    mine, its = matcher.axes
    made = "".join(dict.fromkeys(mine + one + its + other))
    cosines = jnp.einsum(f"{mine}{one}d,{its}{other}d->{made}", z, z2, precision=EXACT)
    weights = jnp.einsum(f"{mine}{one},{its}{other}->{made}", m, m2)
    cosines, weights = jax.lax.optimization_barrier((cosines, weights))
    return matcher.met(cosines, weights, made.index(its))


def _prepared(parts: Parts) -> tuple[jax.Array, jax.Array]:
    """Unit codes [K,...,D] and presences [K,...] of length one; without presence or direction a part has presence 0."""
    directions, presence = unit(jnp.asarray(parts[0])), jnp.asarray(parts[1], jnp.float32)
    there = (presence > SMALLEST_PRESENCE) & jnp.any(directions != 0, axis=-1)
    weights = unit(jnp.where(there, presence, 0.0))
    return jnp.moveaxis(directions, -2, 0), jnp.moveaxis(weights, -1, 0)


@functools.partial(jax.jit, static_argnames="matcher")
def matches(first: Parts, second: Parts, matcher: Matcher) -> Matches:
    """Which parts of one image, codes [K,D] and presence [K], meet which of another, [L,D] and [L], and what it adds.

    >>> image = jnp.eye(2), jnp.array([1.0, 0.0])
    >>> matches(image, image, Reciprocal()).ids.tolist()
    [0, -1]
    """
    _check_sizes("matches", first, second, matcher, "")
    return _matches(first, second, matcher, "", "")


@functools.partial(jax.jit, static_argnames="matcher")
def similarities(first: Parts, second: Parts, matcher: Matcher) -> jax.Array:
    """Of each of b images and each of B others, f32 [b,B]; holds the cosines of all their parts.

    >>> eye = jnp.eye(3)[None], jnp.ones((1, 3))
    >>> similarities(eye, eye, Reciprocal()).round(3).tolist()
    [[1.0]]
    """
    _check_sizes("similarities", first, second, matcher, "bB")
    return _matches(first, second, matcher, "b", "j").addends.sum(0)


@functools.partial(jax.jit, static_argnames="matcher")
def _of_pairs(first: Parts, second: Parts, matcher: Matcher) -> jax.Array:
    """f32 [P], of P images and as many others."""
    return _matches(first, second, matcher, "p", "p").addends.sum(0)


def _check_sizes(function: str, first: Parts, second: Parts, matcher: Matcher, images: str) -> dict[str, int]:
    """The sizes of two sets, whose axes of images are called by two letters or, of one image each, are not there."""
    one, other = (f"{letter} " for letter in images) if images else ("", "")
    parts = "K" if matcher.axes == ("k", "k") else "L"
    return check_shapes(
        function,
        codes=(first[0], f"{one}K D"),
        presence=(first[1], f"{one}K"),
        others=(second[0], f"{other}{parts} D"),
        **{"others' presence": (second[1], f"{other}{parts}")},
    )


def local_scores(queries: Parts, candidates: Parts, matcher: Matcher = Reciprocal()) -> np.ndarray:
    """The similarity of each query and each candidate by their parts, in blocks of bounded memory.

    Which part met which in a pair that is shown, and what it adds, is what `matches(query, candidate, matcher)` says.

    Args:
        queries: codes [Q,K,D] and presences [Q,K] >= 0.
        candidates: codes [M,L,D] and presences [M,L] >= 0, as arrays or memory-mapped; L = K for `Aligned`.
        matcher: `Aligned` or `Reciprocal`.

    Returns:
        f32 [Q,M], larger for more alike, at most 1; 0 where nothing matches.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> queries = np.eye(2)[None], np.ones((1, 2))
        >>> candidates = np.stack([np.eye(2), np.eye(2)[::-1], -np.eye(2)]), np.ones((3, 2))
        >>> [local_scores(queries, candidates, matcher).round(3).tolist() for matcher in (Reciprocal(), Aligned())]
        [[[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]]

    Source: see `Aligned` and `Reciprocal`.
    """
    sizes = _check_sizes("local_scores", queries, candidates, matcher, "QM")
    block = max(1, min(PAIRS // (QUERIES * sizes["K"] * sizes.get("L", 1)), sizes["M"]))
    found = np.zeros((sizes["Q"], sizes["M"]), np.float32)
    for column in range(0, sizes["M"], block):
        others = _rows(candidates, slice(column, column + block), block)
        for row in range(0, sizes["Q"], QUERIES):
            some = _rows(queries, slice(row, row + QUERIES), QUERIES)
            place = found[row : row + QUERIES, column : column + block]
            place[:] = np.asarray(similarities(some, others, matcher))[: place.shape[0], : place.shape[1]]
    return found


def rerank(
    queries: Parts,
    database: Parts,
    values: Any,
    ids: Any,
    matcher: Matcher = Reciprocal(),
    weight: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Orders the shortlist of each query again, by `(1 - w) v + w s` of what it was found by and of its parts.

    Args:
        queries: codes [Q,K,D] and presences [Q,K] >= 0.
        database: codes [N,L,D] and presences [N,L] >= 0, as arrays or memory-mapped; L = K for `Aligned`.
        values: [Q,n], `v`, similarities of a search, the largest first.
        ids: int [Q,n], rows of the database that it found; -1 for none.
        matcher: `Aligned` or `Reciprocal`.
        weight: `w` in [0,1]; 1 goes by the parts alone.

    Returns:
        The new values f32 [Q,n], the largest first, of equal ones in their order before; and their ids i64 [Q,n]. What
        was -1 comes last, with -inf.

    Raises:
        ValueError: shapes that do not agree, ids out of range, a weight out of range.

    Example:
        >>> query = np.eye(2)[None], np.ones((1, 2))
        >>> database = np.stack([np.ones((2, 2)), np.eye(2), np.ones((2, 2))]), np.ones((3, 2))
        >>> values, ids = rerank(query, database, [[0.9, 0.8, 0.7]], [[0, 2, 1]])
        >>> values.round(3).tolist(), ids.tolist()
        ([[1.0, 0.0, 0.0]], [[1, 0, 2]])

    Source: standard; see `Aligned` and `Reciprocal`.
    """
    ids, values = np.asarray(ids, np.int64), np.asarray(values, np.float32)
    sizes = _check_sizes("rerank", queries, database, matcher, "QN")
    check_shapes("rerank", queries=(queries[0], "Q K D"), values=(values, "Q n"), ids=(ids, "Q n"))
    if not 0 <= weight <= 1:
        raise ValueError(f"rerank: weight {weight}; expected 0 to 1")
    if ids.size and not (-1 <= ids.min() and ids.max() < sizes["N"]):
        raise ValueError(f"rerank: ids from {ids.min()} to {ids.max()}; expected -1 to {sizes['N'] - 1}")
    rows, columns = np.nonzero(ids >= 0)
    new = np.full(ids.shape, -np.inf, np.float32)
    block = max(1, min(PAIRS // (sizes["K"] * max(sizes.get("L", 1), sizes["D"])), len(rows)))
    for first in range(0, len(rows), block):
        row, column = rows[first : first + block], columns[first : first + block]
        pair = _rows(queries, row, block), _rows(database, ids[row, column], block)
        local = np.asarray(_of_pairs(*pair, matcher))[: len(row)]
        new[row, column] = (1 - weight) * values[row, column] + weight * local
    order = np.argsort(-new, axis=1, kind="stable")
    return np.take_along_axis(new, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _rows(parts: Parts, rows: Any, size: int) -> tuple[np.ndarray, ...]:
    """Some rows of a set, filled up to a size with images of no part, so that few programs are compiled."""
    made = (np.asarray(each[rows], np.float32) for each in parts)
    return tuple(np.pad(each, [(0, size - len(each))] + [(0, 0)] * (each.ndim - 1)) for each in made)
