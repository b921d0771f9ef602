"""Query expansion and database augmentation: descriptors averaged with those of their nearest neighbours.

Neighbours come from a search by cosine: `values [Q,n]` from the largest down and `ids [Q,n]`, rows of the database,
-1 where there are none.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from partrep.shapes import check_shapes


def average_expansion(queries, database, ids) -> np.ndarray:
    """Average query expansion, `q' = unit(q + sum_{i<=n} x_i)` of unit vectors.

    Args:
        queries: [Q,D], any length.
        database: [N,D], any length.
        ids: int [Q,n], the n nearest rows of the database to each query; -1 for none.

    Returns:
        f32 [Q,D] of length one.

    Raises:
        ValueError: arrays that do not fit, ids out of range.

    Example:
        >>> average_expansion([[1.0, 0.0]], [[0.0, 2.0], [5.0, 0.0]], [[0]]).round(3)
        array([[0.707, 0.707]], dtype=float32)

    Source: Chum, Philbin, Sivic, Isard and Zisserman, Total recall, ICCV 2007; without the spatial
    verification, as is usual for global descriptors.
    """
    return _expanded("average_expansion", queries, database, np.ones(np.shape(ids)), ids)


def alpha_expansion(queries, database, values, ids, alpha: float = 3.0) -> np.ndarray:
    """Alpha query expansion, `q' = unit(q + sum_{i<=n} max(s_i, 0)^alpha x_i)` of unit vectors.

    Args:
        queries: [Q,D], any length.
        database: [N,D], any length.
        values: [Q,n], the cosines `s` of these neighbours.
        ids: int [Q,n], the n nearest rows of the database to each query; -1 for none.
        alpha: > 0; larger ones trust near neighbours more, so that n matters less.

    Returns:
        f32 [Q,D] of length one.

    Raises:
        ValueError: arrays that do not fit, ids out of range, alpha not above 0.

    Example:
        >>> alpha_expansion([[1.0, 0.0]], [[0.6, 0.8], [-1.0, 0.0]], [[0.6, -1.0]], [[0, 1]], alpha=1.0).round(3)
        array([[0.943, 0.333]], dtype=float32)

    Source: Radenovic, Tolias and Chum, Fine-tuning CNN image retrieval with no human annotation, PAMI 2019
    (alpha 3 and n 50 there).
    Departures: a negative cosine weighs nothing; its power has no meaning for most alphas.
    """
    if not alpha > 0:
        raise ValueError(f"alpha_expansion: alpha {alpha}; expected above 0 (average_expansion weighs all alike)")
    values = np.where(np.asarray(ids) < 0, 0.0, np.asarray(values, np.float64))  # -inf where there is no neighbour
    return _expanded("alpha_expansion", queries, database, np.maximum(values, 0.0) ** alpha, ids)


def augmented_database(database, ids) -> np.ndarray:
    """Every descriptor averaged with its neighbours by rank, `x' = unit(x + sum_{r=1}^{k-1} (1 - r/k) x_(r))`.

    Args:
        database: [N,D], any length.
        ids: int [N,k], the k nearest rows to each row, which a search of the database in itself finds; the row itself
            is among them as a rule, and is left out wherever it stands. -1 for none.

    Returns:
        f32 [N,D] of length one.

    Raises:
        ValueError: arrays that do not fit, ids out of range.

    Example:
        >>> augmented_database([[1.0, 0.0], [0.0, 1.0]], [[0, 1], [1, 0]]).round(3)
        array([[0.894, 0.447],
               [0.447, 0.894]], dtype=float32)

    Source: Gordo, Almazan, Revaud and Larlus, End-to-end learning of deep visual representations for image retrieval,
    IJCV 2017; Arandjelovic and Zisserman, CVPR 2012.
    Departures: none.
    """
    ids = np.asarray(ids)
    check_shapes("augmented_database", database=(database, "N D"), ids=(ids, "N k"))
    other = ids != np.arange(len(ids))[:, None]
    rank = np.cumsum(other, axis=1)
    weights = np.where(other, np.maximum(1 - rank / ids.shape[1], 0.0), 0.0)
    return _expanded("augmented_database", database, database, weights, ids)


def _expanded(function: str, queries, database, weights, ids) -> np.ndarray:
    ids = np.asarray(ids)
    sizes = check_shapes(
        function, queries=(queries, "Q D"), database=(database, "N D"), ids=(ids, "Q n"), values=(weights, "Q n")
    )
    if ids.size and not (-1 <= ids.min() and ids.max() < sizes["N"]):
        raise ValueError(f"{function}: ids from {ids.min()} to {ids.max()}; expected -1 to {sizes['N'] - 1}")
    there = ids >= 0
    rows = np.nonzero(there)[0]
    mixture = sparse.csr_array((weights[there], (rows, ids[there])), shape=(sizes["Q"], sizes["N"]))
    return _unit(_unit(queries) + mixture @ _unit(database)).astype(np.float32)


def _unit(x) -> np.ndarray:
    """Rows of length one, f64; a zero row stays."""
    x = np.asarray(x, np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)
