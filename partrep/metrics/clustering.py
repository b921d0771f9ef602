"""Agreement of predicted parts with true ones as clusterings: NMI, ARI and AMI of a table of counts.

All three take a contingency table, which adds up over blocks of images: tens of millions of pixels are scored
without ever being held at once. Values lie in [0, 1] (ARI and AMI may fall below 0); papers print them times
100. NMI of random labels is above 0 and grows with the number of clusters, so compare it at equal numbers
only.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from partrep import UserError
from partrep.metrics.labels import whole_numbers

SERIES_FROM = 1_000
"""Mean count of a cell above which its expected information is taken from the moments."""


def contingency_table(true, predicted, shape: tuple[int, int], where=None) -> np.ndarray:
    """Counts of pairs, `n_ij = #{x: true(x) = i, predicted(x) = j}`; tables of blocks add up.

    Args:
        true: ints of any shape in [0, shape[0]); floats that are whole numbers count as ints.
        predicted: ints of the same shape in [0, shape[1]).
        shape: numbers of true and of predicted labels.
        where: bool of that shape, the places that count; None takes all.

    Returns:
        int64 array of that shape.

    Raises:
        UserError: shapes that differ; labels that are no integers or out of range where they count.

    Example:
        >>> contingency_table([0, 0, 1], [1, 1, 0], (2, 2)).tolist()
        [[0, 2], [1, 0]]

    Source: textbook.
    Departures: none.
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape:
        raise UserError(f"found labels of shapes {true.shape} and {predicted.shape}; expected the same")
    if where is not None:
        where = np.asarray(where, bool)
        if where.shape != true.shape:
            raise UserError(f"found where of shape {where.shape}; expected {true.shape}, that of the labels")
        true, predicted = true[where], predicted[where]
    true, predicted = whole_numbers(true, "true labels"), whole_numbers(predicted, "predicted labels")
    for labels, count in zip((true, predicted), shape):
        if labels.size and (labels.min() < 0 or labels.max() >= count):
            raise UserError(f"found labels {labels.min()} to {labels.max()}; expected 0 to {count - 1}")
    flat = true.ravel() * shape[1] + predicted.ravel()
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def nmi(table) -> float:
    """Normalised mutual information with the arithmetic mean, `2 I(U;V) / (H(U) + H(V))`.

    Args:
        table: counts [T,R] of `contingency_table`.

    Returns:
        In [0,1]. 1 where both sides have a single label, 0 where one of them has.

    Raises:
        UserError: an empty table, a count that is negative, NaN or infinite.

    Example:
        >>> nmi([[5, 0], [0, 5]]), round(nmi([[5, 5], [5, 5]]), 9)
        (1.0, 0.0)

    Source: Vinh, Epps and Bailey, Information theoretic measures for clusterings comparison, JMLR 11, 2010,
    table 2 (NMI_sum); the convention of scikit-learn and of PDiscoNet's evaluation.
    Departures: none.
    """
    table = _counts(table)
    entropies = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))
    if min(entropies) == 0:
        return float(max(entropies) == 0)
    return float(np.clip(2 * _mutual_information(table) / sum(entropies), 0.0, 1.0))


def ari(table) -> float:
    """Adjusted Rand index, `(sum_ij C(n_ij,2) - E) / ((A + B) / 2 - E)`.

    `A = sum_i C(a_i,2)` over row sums, `B = sum_j C(b_j,2)` over column sums, `E = A B / C(n,2)`.

    Args:
        table: counts [T,R] of `contingency_table`.

    Returns:
        At most 1; 0 on average for random labels. 1 where both sides have a single label.

    Raises:
        UserError: an empty table, a count that is negative, NaN or infinite.

    Example:
        >>> ari([[5, 0], [0, 5]]), ari([[3, 0], [3, 0]])
        (1.0, 0.0)

    Source: Hubert and Arabie, Comparing partitions, Journal of Classification 2, 1985, equation 5.
    Departures: none.
    """
    table = _counts(table)
    together = _pairs(table).sum()
    rows, columns, total = (
        _pairs(table.sum(axis=1)).sum(),
        _pairs(table.sum(axis=0)).sum(),
        _pairs(table.sum()),
    )
    if total == 0 or rows == columns == together:
        return 1.0
    expected = rows * columns / total
    return float((together - expected) / ((rows + columns) / 2 - expected))


def ami(table) -> float:
    """Mutual information adjusted for chance, `(I - E[I]) / ((H(U) + H(V)) / 2 - E[I])`.

    `E[I]` is over all tables with the same row and column sums (the hypergeometric model).

    Args:
        table: counts [T,R] of `contingency_table`.

    Returns:
        At most 1; 0 on average for random labels whatever the number of clusters. 1 where the two partitions are
        the same, whatever they are; 0 where one side alone has a single label.

    Raises:
        UserError: an empty table, a count that is negative, NaN or infinite.

    Example:
        >>> ami([[5, 0], [0, 5]]), ami([[3, 0], [3, 0]])
        (1.0, 0.0)

    Source: Vinh, Epps and Bailey, JMLR 11, 2010, equation 24a and table 2 (AMI_sum).
    Departures: the sum over counts stops 12 standard deviations from the mean, and for mean counts above
    `SERIES_FROM` it is the Taylor series to the fourth moment (relative error 1e-6). Scikit-learn sums over
    all counts and takes 40 s at 50 million pixels.
    """
    table = _counts(table)
    if _same_partition(table):  # told by the cells: where every point is its own cluster, the formula is 0 / 0
        return 1.0
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    entropies = _entropy(rows), _entropy(columns)
    if min(entropies) == 0:
        return 0.0
    chance = _expected_mutual_information(rows, columns)
    return float(min((_mutual_information(table) - chance) / (sum(entropies) / 2 - chance), 1.0))


def clustering_scores(table) -> dict[str, float]:
    """`{"nmi", "ari", "ami"}` of one table."""
    return {"nmi": nmi(table), "ari": ari(table), "ami": ami(table)}


def _counts(table) -> np.ndarray:
    table = np.asarray(table, np.float64)
    if not ((table >= 0) & (table < np.inf)).all():
        raise UserError(f"found counts from {table.min():g} to {table.max():g}; expected finite ones of 0 or more")
    if table.ndim != 2 or not table.sum() > 0:
        raise UserError(f"found a table of shape {table.shape} with {table.sum():g} counts; expected some")
    return table


def _same_partition(table: np.ndarray) -> bool:
    filled = table > 0
    return filled.sum(axis=0).max() <= 1 and filled.sum(axis=1).max() <= 1


def _pairs(count):
    return count * (count - 1) / 2


def _entropy(sums: np.ndarray) -> float:
    share = sums[sums > 0] / sums.sum()
    return float(-(share * np.log(share)).sum()) if len(share) > 1 else 0.0


def _mutual_information(table: np.ndarray) -> float:
    total = table.sum()
    i, j = np.nonzero(table)
    count = table[i, j]
    expected = table.sum(axis=1)[i] / total * table.sum(axis=0)[j]
    return float(max((count / total * np.log(count / expected)).sum(), 0.0))


def _expected_mutual_information(rows: np.ndarray, columns: np.ndarray) -> float:
    """`sum_ij E[X / n log(X / m)]`, the count X of a cell hypergeometric with mean `m = a b / n`.

    The term of a cell hangs on its two sums alone, so that each different pair of sums is worked out once.
    """
    total = rows.sum()
    sides = [np.unique(side[side > 0], return_counts=True) for side in (rows, columns)]
    a, b = (side.ravel() for side in np.meshgrid(*(sums for sums, _ in sides), indexing="ij"))
    cells = np.outer(*(count for _, count in sides)).ravel()
    mean = a * b / total
    variance = mean * (total - a) * (total - b) / total / max(total - 1, 1)
    large = mean > SERIES_FROM
    third = variance * (total - 2 * a) * (total - 2 * b) / (total * max(total - 2, 1))
    series = (variance / 2 - third / (6 * mean) + variance**2 / (4 * mean**2)) / mean
    information = np.where(large, series, 0.0)
    information[~large] = [_cell_information(*pair, total) for pair in zip(a[~large], b[~large])]
    return float((cells * information).sum()) / total


def _cell_information(a: float, b: float, total: float) -> float:
    """`E[X log(X / m)]` summed over the counts that weigh anything."""
    mean = a * b / total
    spread = 12 * np.sqrt(mean) + 30
    low = max(1.0, a + b - total, np.floor(mean - spread))
    count = np.arange(low, min(a, b, np.ceil(mean + spread)) + 1)
    chance = np.exp(_log_binomial(a, count) + _log_binomial(total - a, b - count) - _log_binomial(total, b))
    return float((count * np.log(count / mean) * chance).sum())


def _log_binomial(n, k):
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
