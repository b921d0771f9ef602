"""Re-ranking by diffusion: similarity flows from a query along a graph of mutual neighbours of the database.

Neighbours come from a search by cosine: `values [N,k]` and `ids [N,k]`, rows of the database, -1 where there are none.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from partrep.shapes import check_shapes


def mutual_graph(values, ids, gamma: float = 3.0) -> sparse.csr_array:
    """The normalised affinity of mutual neighbours, `S = D^-1/2 W D^-1/2`.

    `w_ij = max(s_ij, 0)^gamma` where i is among the k nearest of j and j among those of i, else 0; `w_ii = 0`;
    `D = diag(sum_j w_ij)`.

    Args:
        values: [N,k], cosines of the neighbours of each row of the database.
        ids: int [N,k], these rows, as a search of the database in itself finds them; the row itself is left out.
        gamma: > 0; larger ones trust near neighbours more.

    Returns:
        Sparse f64 [N,N], symmetric, with eigenvalues in [-1,1]; a row without a mutual neighbour is zero.

    Raises:
        ValueError: arrays that do not fit, ids out of range, gamma not above 0.

    Example:
        >>> mutual_graph([[1.0, 0.5], [1.0, 0.5], [1.0, 0.2]], [[0, 1], [1, 0], [2, 0]]).toarray()
        array([[0., 1., 0.],
               [1., 0., 0.],
               [0., 0., 0.]])

    Source: Iscen, Tolias, Avrithis, Furon and Chum, Efficient diffusion on region manifolds, CVPR 2017;
    gamma 3 as in their code.
    Departures: of two cosines of a pair that differ by rounding the smaller counts, so that S is symmetric.
    """
    if not gamma > 0:
        raise ValueError(f"mutual_graph: gamma {gamma}; expected above 0")
    ids = np.asarray(ids)
    check_shapes("mutual_graph", values=(values, "N k"), ids=(ids, "N k"))
    others = np.where(ids == np.arange(len(ids))[:, None], -1, ids)
    near = _affinity("mutual_graph", values, others, len(ids), gamma)
    weights = near.minimum(near.T).tocsr()
    degree = np.asarray(weights.sum(axis=1)).ravel()
    scale = np.where(degree > 0, degree, 1.0) ** -0.5
    rows, columns = weights.tocoo().coords
    weights.data *= scale[rows] * scale[columns]
    return weights


def diffuse(
    graph: sparse.csr_array, values, ids, alpha: float = 0.99, gamma: float = 3.0, tolerance: float = 1e-6
) -> np.ndarray:
    """How much of each query arrives at each row of the database, `f = (1 - alpha) (1 - alpha S)^-1 y`.

    `y_i = max(s_i, 0)^gamma` at the query's nearest neighbours, 0 elsewhere: the sum of random walks of all lengths
    that start there, each step damped by alpha. Ranks by f follow the shape of the data, where cosines follow straight
    lines. Solved by conjugate gradients for all queries at once, in float64.

    Args:
        graph: S [N,N] of `mutual_graph`.
        values: [Q,n], cosines of the query's neighbours.
        ids: int [Q,n], these rows of the database.
        alpha: in [0,1); near one, the query reaches further. 0 gives y.
        gamma: > 0, as in `mutual_graph`.
        tolerance: the residual at which a query is solved, as a share of the length of y.

    Returns:
        f64 [Q,N] >= 0 (to the tolerance), larger for more similar; 0 where nothing arrives. `numpy.argsort(-f)` ranks.

    Raises:
        ValueError: arrays that do not fit, ids out of range, alpha, gamma or tolerance out of range.

    Example:
        >>> graph = mutual_graph([[0.9], [0.9], [0.0]], [[1], [0], [-1]])
        >>> diffuse(graph, [[1.0]], [[0]], alpha=0.5).round(3)  # 0.5 y, then half of it crosses over and back
        array([[0.667, 0.333, 0.   ]])

    Source: Iscen et al. (CVPR 2017); alpha 0.99, k 50 and n 10 for global descriptors in their code.
    Departures: iterates to the tolerance, where their code stops after 20 steps; no truncation of the graph.
    """
    if not (0 <= alpha < 1 and gamma > 0 and 0 < tolerance < 1):
        raise ValueError(
            f"diffuse: alpha {alpha}, gamma {gamma}, tolerance {tolerance}; "
            "expected alpha in [0,1), gamma above 0, tolerance in (0,1)"
        )
    if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
        raise ValueError(f"diffuse: graph has shape {graph.shape}; expected [N,N]")
    check_shapes("diffuse", values=(values, "Q n"), ids=(ids, "Q n"))
    start = _affinity("diffuse", values, np.asarray(ids), graph.shape[0], gamma).toarray().T
    return ((1 - alpha) * _conjugate_gradients(graph, start, alpha, tolerance)).T


def _affinity(function: str, values, ids: np.ndarray, count: int, gamma: float) -> sparse.csr_array:
    """`max(s, 0)^gamma` at the neighbours, sparse f64 [rows,count]."""
    if ids.size and not (-1 <= ids.min() and ids.max() < count):
        raise ValueError(f"{function}: ids from {ids.min()} to {ids.max()}; expected -1 to {count - 1}")
    there = ids >= 0
    powers = np.maximum(np.asarray(values, np.float64)[there], 0.0) ** gamma
    return sparse.csr_array((powers, (np.nonzero(there)[0], ids[there])), shape=(len(ids), count))


def _conjugate_gradients(graph: sparse.csr_array, wanted: np.ndarray, alpha: float, tolerance: float) -> np.ndarray:
    """f [N,Q] with `(1 - alpha S) f = wanted`, whose matrix has condition (1 + alpha) / (1 - alpha) at most."""
    found, residual = np.zeros_like(wanted), wanted.copy()
    direction, squared = residual.copy(), (residual**2).sum(0)
    enough = tolerance**2 * squared
    for _ in range(len(wanted) + 10):  # N steps suffice but for rounding; far fewer as a rule
        if (squared <= enough).all():
            break
        image = direction - alpha * (graph @ direction)
        curvature = (direction * image).sum(0)
        step = squared / np.where(curvature > 0, curvature, 1.0)
        found += step * direction
        residual -= step * image
        before, squared = squared, (residual**2).sum(0)
        direction = residual + squared / np.where(before > 0, before, 1.0) * direction
    return found
