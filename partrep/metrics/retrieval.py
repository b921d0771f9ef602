"""Retrieval of items of the same class: recall@k, precision@1, R-precision and MAP@R, in blocks of queries.

Recall@k is that of metric learning: whether *any* of the k nearest items has the query's class. It is not the
share of all relevant items, which information retrieval calls recall.

A query never finds itself. With `R` items of its class left to find, queries with `R = 0` have nothing to score and
are left out of every mean.

Ties are scored exactly: items that are equally similar to the query are in random order, and the value is the
expectation over that order. So neither the order of storage, which is often by class, nor a collapsed embedding
earns anything.

Memory is that of the embeddings, twice, and of one block (`CELLS` similarities and the passes over them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from partrep import UserError, lookup

CELLS = 2**24
"""Similarities of one block: 64 MiB in float32."""

Similarity = Callable[[np.ndarray], np.ndarray]
"""Rows int [b] -> how similar these items are to each of the N items, floats [b,N]."""

Ranks = int | Sequence[int] | np.ndarray
"""One rank or several, integers from 1."""


def retrieval_scores(items, labels, queries=None, gallery=None, k: Ranks = (1, 2, 4, 8)) -> dict[str, float]:
    """Means over queries of recall@k, precision@1, R-precision and MAP@R.

    With `rel(i)` 1 where the item at rank i has the query's class, and `P(i) = (1/i) sum_{j<=i} rel(j)`:

        recall@k = max_{i<=k} rel(i),   R-precision = P(R),   MAP@R = (1/R) sum_{i<=R} P(i) rel(i)

    Args:
        items: embeddings f [N,E], compared by cosine; or a function from rows int [b] to similarities [b,N], larger
            for more similar: `block_similarity` makes one, and aligned parts are scored by one of one's own.
        labels: [N], ints or strings.
        queries: bool [N], which items are looked up; None takes all.
        gallery: bool [N], which items can be found; None takes all. An item that is in both does not find itself.
        k: rank or ranks of recall@k, integers, each 1 to the number of items that a query can find.

    Returns:
        `recall@k` for each k, `precision@1`, `r_precision` and `map@r` in [0,1], and `queries`, how many counted:
        those without any relevant item are left out.

    Raises:
        UserError: arrays that do not fit, values that are complex or not finite, ranks that are no integers or out
            of range, no query with a relevant item.

    Example:
        >>> scores = retrieval_scores([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]], ["tit", "tit", "owl"], k=(1,))
        >>> scores["recall@1"], scores["map@r"], scores["queries"]
        (1.0, 1.0, 2.0)

    Source: Musgrave, Belongie and Lim, A metric learning reality check, ECCV 2020, for R-precision and MAP@R;
    Oh Song, Xiang, Jegelka and Savarese, CVPR 2016, for recall@k; expectations under ties after McSherry and Najork,
    Computing information retrieval performance measures efficiently in the presence of tied scores, ECIR 2008.
    Departures: ties count their expectation, where pytorch-metric-learning takes what the search returns first;
    products are float32, so items whose cosines differ by less than about 1e-6 may be exchanged (exact copies are
    tied exactly).
    """
    values = retrieval_values(items, labels, queries, gallery, k)
    count = len(values.pop("query"))
    del values["relevant"]
    return {name: float(value.mean()) for name, value in values.items()} | {"queries": float(count)}


def retrieval_values(items, labels, queries=None, gallery=None, k: Ranks = (1, 2, 4, 8)) -> dict[str, np.ndarray]:
    """What `retrieval_scores` averages, query by query, for paired intervals and means over classes.

    Args:
        items: as in `retrieval_scores`.
        labels: as there.
        queries: as there.
        gallery: as there.
        k: as there.

    Returns:
        f64 [n] for each metric; `query` int64 [n], the rows of the n queries that have a relevant item, ascending;
        `relevant` int64 [n], their R. Which these are hangs on the labels alone, so that values of two embeddings
        pair up.

    Raises:
        UserError: as in `retrieval_scores`.

    Example:
        >>> values = retrieval_values(np.ones((3, 2)), [0, 0, 1], k=(1,))  # all tied: each finds either at random
        >>> values["query"].tolist(), values["precision@1"].tolist()
        ([0, 1], [0.5, 0.5])

    Source: see `retrieval_scores`.
    """
    classes, queries, gallery = _checked(labels, queries, gallery)
    similarity = items if callable(items) else block_similarity(_labelled(items, len(classes)))
    ranks = _ranks(k, int(gallery.sum()) - int((queries & gallery).any()))
    relevant = np.bincount(classes[gallery], minlength=classes.max() + 1)[classes] - gallery
    rows = np.flatnonzero(queries & (relevant > 0))
    if not len(rows):
        raise UserError(f"none of {int(queries.sum())} queries has an item of its class to find; expected one or more")
    order = rows[np.argsort(-relevant[rows], kind="stable")]  # blocks of queries with like numbers to find
    parts = []
    for block in _blocks(np.maximum(relevant[order], max(ranks)), len(classes)):
        these = order[block]
        found = _similarities(similarity, these, gallery)
        chance, before, tied, place = _tied_ranks(found, classes, classes[these], max(relevant[these[0]], max(ranks)))
        parts.append(_values(chance, before, tied, place, relevant[these], ranks))
    values = {name: np.concatenate([part[name] for part in parts])[np.argsort(order)] for name in parts[0]}
    return {"query": rows, "relevant": relevant[rows], **values}


def block_similarity(embeddings, kind: str = "cosine") -> Similarity:
    """The function `rows -> similarities to all items` of embeddings, in float32 products.

    Args:
        embeddings: f [N,E], finite.
        kind: "cosine"; "dot"; "euclidean", in the order of `-|a - b|^2` (as `(a - c).(b - c) - |b - c|^2 / 2` about
            the mean c). A zero vector has cosine 0 with all.

    Returns:
        A function from rows int [b] to f32 [b,N]. Items with equal embeddings have equal similarities to the last
        bit, which a matrix product alone does not promise.

    Raises:
        UserError: an unknown kind, not two axes, values that are complex or not finite.

    Example:
        >>> block_similarity([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])(np.array([1])).round(2)
        array([[0.8, 1. , 0. ]], dtype=float32)
        >>> block_similarity([[0.0], [1.0], [3.0]], "euclidean")(np.array([1])).argsort().tolist()
        [[2, 0, 1]]

    Source: textbook.
    """
    prepare = lookup({"cosine": _unit, "dot": _plain, "euclidean": _centred}, kind, "similarity")
    embeddings = np.asarray(embeddings)
    if np.iscomplexobj(embeddings):
        raise UserError(f"embeddings of type {embeddings.dtype}; expected real numbers")
    if embeddings.dtype not in (np.float32, np.float64):
        embeddings = embeddings.astype(np.float32)
    if embeddings.ndim != 2 or not np.isfinite(embeddings).all():
        raise UserError(f"embeddings of shape {embeddings.shape}; expected [N,E], all finite")
    vectors = prepare(embeddings)
    shift = (vectors**2).sum(1) / 2 if kind == "euclidean" else None
    # One product for all copies of an item: sums at the edges of a matrix product run in another order.
    raw = vectors.view(np.dtype((np.void, vectors.itemsize * vectors.shape[1]))).ravel()
    first, copy = np.unique(raw, return_index=True, return_inverse=True)[1:]
    copies = len(first) < len(vectors)
    found = (vectors[first] if copies else vectors).T
    shift = shift[first] if copies and shift is not None else shift

    def similarity(rows: np.ndarray) -> np.ndarray:
        block = vectors[rows] @ found
        if shift is not None:
            block -= shift
        return block[:, copy] if copies else block

    return similarity


def _plain(embeddings: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(embeddings, np.float32) + np.float32(0)  # -0.0 and 0.0 become the same bits


def _unit(embeddings: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.einsum("ne,ne->n", embeddings, embeddings, dtype=np.float64))
    return _plain(embeddings / np.where(length > 0, length, 1.0)[:, None].astype(embeddings.dtype))


def _centred(embeddings: np.ndarray) -> np.ndarray:
    return _plain(embeddings - embeddings.mean(0, dtype=np.float64).astype(embeddings.dtype))


def _checked(labels, queries, gallery) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels as ints from 0, and both masks."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size:
        raise UserError(f"labels of shape {labels.shape}; expected [N], one for each item")
    queries, gallery = (np.ones(len(labels), bool) if mask is None else np.asarray(mask) for mask in (queries, gallery))
    for name, mask in (("queries", queries), ("gallery", gallery)):
        if mask.shape != labels.shape or mask.dtype != bool:
            raise UserError(f"{name} of shape {mask.shape} and type {mask.dtype}; expected bool [{len(labels)}]")
    return np.unique(labels, return_inverse=True)[1], queries, gallery


def _labelled(embeddings, count: int) -> np.ndarray:
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) != count:
        raise UserError(f"embeddings of shape {embeddings.shape}; expected [{count},E], one row a label")
    return embeddings


def _ranks(k: Ranks, most: int) -> list[int]:
    """The ranks of recall, of which a query can find `most`."""
    ranks = np.atleast_1d(k)
    if ranks.ndim != 1 or not ranks.size or ranks.dtype.kind not in "iu":
        raise UserError(f"recall at ranks {ranks.tolist()}; expected an integer or a list of them")
    if ranks.min() < 1 or ranks.max() > most:
        raise UserError(f"recall at ranks {ranks.tolist()}; expected 1 to {most}, the items that a query can find")
    return ranks.tolist()


def _blocks(depth: np.ndarray, items: int) -> Iterator[slice]:
    """Slices of queries, whose falling `depth` says how many ranks each needs; a block has about `CELLS` cells."""
    start = 0
    while start < len(depth):
        stop = start + max(1, CELLS // (items + 8 * int(depth[start])))
        yield slice(start, stop)
        start = stop


def _similarities(similarity: Similarity, rows: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Similarities of a block [b,N], -inf for the query itself and outside of the gallery."""
    found = np.array(similarity(rows))  # a copy, as the function may keep what it returns
    if found.shape != (len(rows), len(gallery)) or not np.issubdtype(found.dtype, np.floating):
        raise UserError(
            f"similarities of shape {found.shape} and type {found.dtype}; expected floats "
            f"[{len(rows)},{len(gallery)}], of {len(rows)} items to each that has a label"
        )
    if not (np.isfinite(found.min()) and np.isfinite(found.max())):
        raise UserError("similarities that are not finite; expected finite ones")
    if not gallery.all():
        found[:, ~gallery] = -np.inf
    found[np.arange(len(rows)), rows] = -np.inf
    return found


def _tied_ranks(
    found: np.ndarray, classes: np.ndarray, wanted: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the first `depth` ranks, what is known where tied items are in random order.

    Args:
        found: similarities [b,N], at least `depth` in a row finite.
        classes: int [N].
        wanted: int [b], the class of each query.
        depth: L, ranks.

    Returns:
        f64 [b,L] each, of the group of ties that fills a rank: its share of relevant items; how many relevant items
        come before the group; its size; and the rank's place in it, from 0.
    """
    queries = np.arange(len(found))[:, None]
    last = np.partition(found, -depth, axis=1)[:, -depth]
    rows, columns = np.divmod(np.flatnonzero(found >= last[:, None]), found.shape[1])
    values, hits = found[rows, columns], classes[columns] == wanted[rows]
    above = values > last[rows]
    # Items above the last value fill less than `depth` places; those tied at it share the others, and only count.
    places = np.arange(above.sum()) - np.searchsorted(rows[above], rows[above])
    ranked, relevant = np.repeat(last[:, None], depth, axis=1), np.zeros((len(found), depth))
    ranked[rows[above], places], relevant[rows[above], places] = values[above], hits[above]
    order = np.argsort(-ranked, axis=1, kind="stable")
    ranked, relevant = ranked[queries, order], relevant[queries, order]
    total = np.pad(np.cumsum(relevant, axis=1), ((0, 0), (1, 0)))
    changes = np.pad(ranked[:, 1:] != ranked[:, :-1], ((0, 0), (1, 1)), constant_values=True)
    rank = np.arange(depth)
    start = np.maximum.accumulate(np.where(changes[:, :-1], rank, 0), axis=1)
    end = np.minimum.accumulate(np.where(changes[:, 1:], rank + 1, depth)[:, ::-1], axis=1)[:, ::-1]
    before, size = total[queries, start], (end - start).astype(np.float64)
    relevant = total[queries, end] - before
    at_last = ranked == last[:, None]
    for array, counts in ((size, None), (relevant, hits[~above])):
        array[at_last] = np.bincount(rows[~above], counts, len(found))[np.nonzero(at_last)[0]]
    return relevant / size, before, size, rank - start


def _values(
    chance: np.ndarray, before: np.ndarray, size: np.ndarray, place: np.ndarray, relevant: np.ndarray, k: Sequence[int]
) -> dict[str, np.ndarray]:
    """Expected values of the metrics, f64 [b] each, from what `_tied_ranks` returns and R int [b]."""
    rank = np.arange(chance.shape[1])
    counted = rank < relevant[:, None]
    # Given that a rank is relevant, each other place of its group is with probability (m - 1) / (t - 1).
    others = (chance * size - 1) / np.maximum(size - 1, 1)
    precision = (before + 1 + place * others) / (rank + 1)
    # Given that no earlier place of its group is relevant, a rank is not with probability (t - m - j) / (t - j).
    miss = np.maximum(size - np.rint(chance * size) - place, 0) / (size - place)
    none = np.cumprod(miss, axis=1)
    return {
        **{f"recall@{rank}": 1 - none[:, rank - 1] for rank in k},
        "precision@1": chance[:, 0],
        "r_precision": (chance * counted).sum(1) / relevant,
        "map@r": (chance * precision * counted).sum(1) / relevant,
    }
