"""Agreement of two orders: Spearman's and Kendall's rank correlation, row by row."""

from __future__ import annotations

import numpy as np
from scipy import stats

from partrep import UserError


def spearman(first, second) -> np.ndarray:
    """Spearman's rho of each row, `rho = corr(rank(x), rank(y))`; equal values share their mean rank.

    Args:
        first: [..., P] finite numbers in any unit, P >= 2.
        second: the same shape.

    Returns:
        f64 [...] in [-1, 1]; 0, which is chance, where all values of a row are equal: such a row orders nothing.

    Raises:
        UserError: shapes that differ, fewer than two values a row, or one that is not finite.

    Example:
        >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0]).round(3).item()
        0.5
        >>> spearman([[1.0, 1.0], [0.0, 5.0]], [[1.0, 2.0], [1.0, 2.0]]).tolist()
        [0.0, 1.0]

    Source: Spearman (1904), with mean ranks for ties (Kendall and Gibbons, Rank correlation methods, 1990,
    chapter 3).
    Departures: a constant row counts 0, where rho is not defined.
    """
    first, second = _rows(first, second)
    ranks = [stats.rankdata(values, axis=-1) for values in (first, second)]
    one, two = (rank - rank.mean(-1, keepdims=True) for rank in ranks)
    spread = np.sqrt((one**2).sum(-1) * (two**2).sum(-1))
    return np.where(spread > 0, (one * two).sum(-1) / np.where(spread > 0, spread, 1.0), 0.0)


def kendall(first, second) -> np.ndarray:
    """Kendall's tau-b of each row, `tau = sum_{i<j} a_ij b_ij / sqrt(sum_{i<j} a_ij^2 sum_{i<j} b_ij^2)`.

    `a_ij = sign(x_i - x_j)`, `b_ij` the same of y: pairs in the same order less those in opposite order, equal ones
    apart.

    Args:
        first: [..., P] finite numbers in any unit, P >= 2.
        second: the same shape.

    Returns:
        f64 [...] in [-1, 1]; 0, which is chance, where all values of a row are equal.

    Raises:
        UserError: shapes that differ, fewer than two values a row, or one that is not finite.

    Example:
        >>> kendall([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]], [[10.0, 30.0, 20.0], [1.0, 2.0, 3.0]]).round(3).tolist()
        [0.333, 0.0]

    Source: Kendall, The treatment of ties in ranking problems, Biometrika 33 (1945), tau-b.
    Departures: a constant row counts 0, where tau-b is not defined.
    """
    one, two = (np.sign(x[..., :, None] - x[..., None, :]) for x in _rows(first, second))
    spread = np.sqrt((one**2).sum((-2, -1)) * (two**2).sum((-2, -1)))
    return np.where(spread > 0, (one * two).sum((-2, -1)) / np.where(spread > 0, spread, 1.0), 0.0)


def _rows(first, second) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or not first.ndim or first.shape[-1] < 2:
        raise UserError(f"rank correlation of shapes {first.shape} and {second.shape}; expected the same [..., P >= 2]")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UserError("rank correlation of values that are not finite; expected finite ones")
    return first, second
