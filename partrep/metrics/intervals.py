"""Intervals of 95 %: over episodes, over whole groups, and of paired differences over seeds and episodes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from partrep import UserError

Z95 = 1.96
"""The normal quantile as the few-shot field rounds it."""


class Interval(NamedTuple):
    """A mean with the two ends of its 95 % interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width, the number after the plus-minus sign."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def mean_interval(values, student: bool = False) -> Interval:
    """Mean and 95 % interval of independent values, `mean +- q s / sqrt(n)`.

    `s` is the sample standard deviation (n - 1 below) and `q` is 1.96, or the 0.975 quantile of Student's t
    with n - 1 degrees of freedom. The second is right for a handful of seeds, the first is what few-shot
    papers print over 600 episodes or more.

    Args:
        values: [n] finite numbers in any unit, n >= 2.
        student: use Student's t in place of 1.96.

    Returns:
        `Interval` in the unit of `values`.

    Raises:
        UserError: fewer than two values, or one that is not finite.

    Example:
        >>> mean_interval([0.5, 0.6, 0.7]).mean.__round__(3), mean_interval([0.5, 0.6, 0.7]).half.__round__(3)
        (0.6, 0.113)

    Source: Vinyals et al., Matching networks for one shot learning, NeurIPS 2016, and the protocol of its
    successors.
    Departures: none.
    """
    values = _finite(values, dimensions=1, least=2)
    count = len(values)
    quantile = stats.t.ppf(0.975, count - 1) if student else Z95
    return _around(values.mean(), quantile * values.std(ddof=1) / np.sqrt(count))


def bootstrap_interval(values, groups, seed: int = 0, resamples: int = 10_000) -> Interval:
    """Mean of all values and the 95 % percentile bootstrap interval over whole groups.

    Each resample draws G groups with replacement from the G groups and takes the mean of all values in them,
    `sum_g sum_i v_gi / sum_g n_g`, so that values of one class, alphabet or image stay together. With five
    groups or fewer the interval is known to be too narrow; it says how much the mean hangs on which groups
    were taken, no more.

    Args:
        values: [n] finite numbers.
        groups: [n] group of each value, any dtype that sorts.
        seed: the same seed gives the same interval.
        resamples: number of resamples.

    Returns:
        `Interval` in the unit of `values`; its mean is the plain mean of the values, not that of the
        resamples.

    Raises:
        UserError: fewer than two groups, lengths that differ, or a value that is not finite.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])
        Interval(mean=0.5, low=0.0, high=1.0)

    Source: Davison and Hinkley, Bootstrap methods and their application, 1997, section 3.8 (resampling whole
    clusters).
    Departures: none.
    """
    values, groups = _finite(values, dimensions=1, least=1), np.asarray(groups)
    if groups.shape != values.shape:
        raise UserError(
            f"found groups of shape {groups.shape} for values of shape {values.shape}; expected the same"
        )
    names, inverse = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise UserError(f"a bootstrap over groups needs at least 2 groups; found {len(names)}")
    sums = np.bincount(inverse, values)
    counts = np.bincount(inverse).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def share_interval(values, seed: int = 0, resamples: int = 10_000) -> Interval:
    """A share of images and its 95 % percentile bootstrap interval over the images, each by itself.

    Each resample draws n images with replacement; the number of ones among n draws from zeros and ones of share p is
    binomial with n and p, so that is drawn, and no image.

    Args:
        values: [n] zeros and ones, or booleans.
        seed: the same seed gives the same interval.
        resamples: number of resamples.

    Returns:
        `Interval` in [0,1]: where other images of the same kind would put the share. Where all values are the same,
        it has no width.

    Raises:
        UserError: no values, or one that is neither zero nor one.

    Example:
        >>> share_interval([True] * 50 + [False] * 50)
        Interval(mean=0.5, low=0.4, high=0.6)

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13.
    Departures: none; drawing the sum has the distribution of summing the draws.
    """
    values = _finite(values, dimensions=1, least=1)
    if not np.isin(values, (0.0, 1.0)).all():
        raise UserError("found values other than zero and one; expected whether each image is right")
    mean = float(values.mean())
    drawn = np.random.default_rng(seed).binomial(len(values), mean, resamples) / len(values)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def crossed_interval(values) -> Interval:
    """Mean and 95 % interval of a table of seeds by episodes, both taken as random.

    The rows (seeds) share their episodes, so neither the row means nor the single values are independent.
    With the mean squares of the two-way layout, `V = (MS_rows + MS_columns - MS_residual) / (S E)` estimates
    the variance of the grand mean, and Student's t has Satterthwaite's degrees of freedom,
    `(S E V)^2 / (MS_rows^2 / (S-1) + MS_columns^2 / (E-1) + MS_residual^2 / ((S-1)(E-1)))`.

    Args:
        values: [S,E] finite numbers, S >= 2 seeds by E >= 2 episodes.

    Returns:
        `Interval`: where another seed and other episodes would put the mean, not only other episodes.

    Raises:
        UserError: another shape, or a value that is not finite.

    Example:
        >>> interval = crossed_interval([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]])
        >>> interval.mean, interval.low < 1 < 3.5 < interval.high
        (2.25, True)

    Source: Satterthwaite, An approximate distribution of estimates of variance components, Biometrics 2,
    1946.
    Departures: V is never taken below the larger of its two one-way parts, `max(MS_rows, MS_columns) / (S
    E)`, since a small residual draw can push the estimate under them.
    """
    values = _finite(values, dimensions=2, least=2)
    rows, columns = values.shape
    mean = values.mean()
    by_row, by_column = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    residual = values - mean - by_row[:, None] - by_column[None, :]
    square_rows = columns * (by_row**2).sum() / (rows - 1)
    square_columns = rows * (by_column**2).sum() / (columns - 1)
    square_residual = (residual**2).sum() / ((rows - 1) * (columns - 1))
    total = max(square_rows + square_columns - square_residual, square_rows, square_columns)
    if total <= 0:
        return _around(mean, 0.0)
    freedom = total**2 / (
        square_rows**2 / (rows - 1)
        + square_columns**2 / (columns - 1)
        + square_residual**2 / ((rows - 1) * (columns - 1))
    )
    return _around(mean, stats.t.ppf(0.975, freedom) * np.sqrt(total / (rows * columns)))


def paired_interval(first, second) -> Interval:
    """Mean of `first - second` on the same episodes, with its 95 % interval.

    One row of episodes each: `mean_interval` of the differences (1.96 s / sqrt(E)). Tables of seeds by
    episodes: `crossed_interval` of the differences; a method without seeds (raw pixels) is one row, met by
    every seed.

    Args:
        first: [E] or [S,E] scores of one method, episode e the same in both.
        second: [E] or [S,E] scores of the other.

    Returns:
        `Interval` of the difference; above zero: the first is better at the 5 % level.

    Raises:
        UserError: shapes that do not pair, or a value that is not finite.

    Example:
        >>> paired_interval([0.6, 0.8, 0.7], [0.5, 0.7, 0.5]).excludes_zero
        True

    Source: the paired t interval; see `crossed_interval` for seeds.
    Departures: none.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    matched = first.ndim in (1, 2) and second.ndim in (1, 2) and first.shape[-1] == second.shape[-1]
    if not matched or (first.ndim == second.ndim == 2 and len(first) != len(second)):
        raise UserError(
            f"scores of shapes {first.shape} and {second.shape} do not pair; expected [E] or [S,E] each"
        )
    difference = first - second
    if difference.ndim == 2 and len(difference) == 1:
        difference = difference[0]
    return mean_interval(difference) if difference.ndim == 1 else crossed_interval(difference)


def sign_flip_test(differences, seed: int = 0, resamples: int = 10_000) -> float:
    """Two-sided p value of the hypothesis that paired differences are symmetric about zero.

    The sign of every difference is flipped at random; `p = (1 + #{|mean*| >= |mean|}) / (1 + resamples)`,
    which is valid for any number of resamples and never zero.

    Args:
        differences: [n] paired differences, n >= 1; for the unit that is exchangeable (episode, class,
            alphabet).
        seed: of the flips.
        resamples: number of random flips of all signs.

    Returns:
        p in (0, 1].

    Raises:
        UserError: no values, or one that is not finite.

    Example:
        >>> sign_flip_test([1.0, -1.0]) > 0.9, sign_flip_test([0.1] * 40) < 0.001
        (True, True)

    Source: Phipson and Smyth, Permutation p-values should never be zero, 2010, equation 2.
    Departures: none.
    """
    differences = _finite(differences, dimensions=1, least=1)
    generator = np.random.default_rng(seed)
    observed = abs(differences.sum())
    hits, block = 0, 1_000
    for start in range(0, resamples, block):
        shape = (min(block, resamples - start), len(differences))
        flips = generator.integers(2, size=shape, dtype=np.int8) * 2.0 - 1.0
        # Sums that are equal in exact arithmetic must count as ties whatever the order of their additions.
        hits += int((np.abs(flips @ differences) >= observed * (1 - 1e-12)).sum())
    return (1 + hits) / (1 + resamples)


def _finite(values, dimensions: int, least: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != dimensions or min(values.shape) < least:
        raise UserError(
            f"found values of shape {values.shape}; expected {dimensions} axes of at least {least}"
        )
    if not np.isfinite(values).all():
        raise UserError(
            f"found {int((~np.isfinite(values)).sum())} values that are not finite; expected none"
        )
    return values


def _around(mean: float, half: float) -> Interval:
    return Interval(float(mean), float(mean - half), float(mean + half))
