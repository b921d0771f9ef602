"""Disentanglement: does each code, or each part, say one thing, and is each thing said in one place?

Codes are numbers [n,d], factors are integer labels [n,F] of the same images (attributes, poses, identities
of parts). `codes.reshape(n, K * M)` turns the codes of parts into such a table. A factor with one value
carries nothing to be found and is refused. The scores are of different scales and need not agree; report
those of random and of untrained codes beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.shapes import check_shapes

TREES = 30
SMALLEST_LEAF = 6
"""With these, D and C are within 0.04 of 100 boosted trees on noisy and on rotated codes of six factors."""

SMALLEST_SPREAD = 0.05
"""Standard deviation under which a code counts as collapsed to the prior of unit variance."""


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, all in [0,1], and what they were computed from."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray
    """[d,F] or, by part, [K,F]; each column sums to one (to zero where no code helps)"""


class FactorVAEScore(NamedTuple):
    """Accuracy in [0,1] of the majority vote on new batches, on its own, and the number of codes in use."""

    score: float
    train_score: float
    active: int


Sample = Callable[[int | None, int, np.random.Generator], np.ndarray]
"""`sample(factor, count, generator)` -> codes [count,d] that share a random value of that factor; None: free."""


def mutual_information(codes, factors, bins: int = 20) -> np.ndarray:
    """Mutual information of every code with every factor in nats, `I_jf = H(z_j) + H(y_f) - H(z_j, y_f)`.

    Each code is cut into `bins` equal widths between its smallest and its largest value over the n images.

    Args:
        codes: [n,d] finite numbers.
        factors: int [n,F].
        bins: number of widths.

    Returns:
        f64 [d,F] >= 0, the plug-in estimate: above 0 by about `(bins - 1) (values - 1) / 2n` for codes that
        are independent of the factor.

    Raises:
        ValueError: shapes that do not agree.
        UserError: codes that are not finite, or a factor with one value.

    Example:
        >>> mutual_information([[0.0], [0.0], [1.0], [1.0]], [[0], [0], [1], [1]]).round(4).tolist()
        [[0.6931]]

    Source: Locatello et al., Challenging common assumptions in the unsupervised learning of disentangled
    representations, ICML 2019, and its library (20 equal widths).
    Departures: none.
    """
    check_shapes("mutual_information", codes=(codes, "n d"), factors=(factors, "n F"))
    codes, factors = _codes(codes), _factors(factors)
    binned = [_bin(column, bins) for column in codes.T]
    return np.array([[_information(code, factor) for factor in factors.T] for code in binned])


def mutual_information_gap(codes, factors, bins: int = 20) -> float:
    """MIG: how far the best code is ahead of the second best, `mean_f (I_(1)f - I_(2)f) / H(y_f)`.

    `I_(1)f` and `I_(2)f` are the largest and second largest `mutual_information` of a code with factor f,
    in nats, as is the entropy `H(y_f)` of the labels.

    Args:
        codes: [n,d]; with d = 1 the second best is 0.
        factors: int [n,F].
        bins: number of equal widths of each code; a factor with more values than bins cannot reach 1.

    Returns:
        In [0,1]. A factor written into two codes alike (a redundant code) scores 0 though each is pure.

    Raises:
        ValueError: shapes that do not agree.
        UserError: codes that are not finite, or a factor with one value.

    Example:
        >>> mutual_information_gap([[0, 0], [0, 1], [1, 0], [1, 1]], [[0, 0], [0, 1], [1, 0], [1, 1]])
        1.0

    Source: Chen et al., Isolating sources of disentanglement in variational autoencoders, NeurIPS 2018;
    20 equal widths and sample means as in Locatello et al., ICML 2019.
    Departures: none.
    """
    check_shapes("mutual_information_gap", codes=(codes, "n d"), factors=(factors, "n F"))
    information = np.sort(mutual_information(codes, factors, bins), axis=0)
    second = information[-2] if len(information) > 1 else 0.0
    entropy = np.array([_entropy(column) for column in np.asarray(factors).T])
    return float(np.mean((information[-1] - second) / entropy))


def modularity(codes, factors, bins: int = 20) -> float:
    """Does a code inform of one factor only: `mean_j (1 - sum_{f != f*} I_jf^2 / (I_jf*^2 (F - 1)))`.

    `f*` is the factor that code j informs of most, `I` the `mutual_information`. Redundant codes cost
    nothing, unlike in the mutual information gap.

    Args:
        codes: [n,d].
        factors: int [n,F], F >= 2.
        bins: number of equal widths of each code.

    Returns:
        In [0,1]. A constant code counts 0. Codes that are independent of all factors score 0.2 to 0.35 by
        estimation noise, whatever n: compare with random codes.

    Raises:
        ValueError: shapes that do not agree.
        UserError: codes that are not finite, a factor with one value, or F = 1.

    Example:
        >>> modularity([[0, 0], [0, 1], [1, 0], [1, 1]], [[0, 0], [0, 1], [1, 0], [1, 1]])
        1.0

    Source: Ridgeway and Mozer, Learning deep disentangled embeddings with the F-statistic loss, NeurIPS
    2018, section 3; constant codes count 0 as in Locatello et al., ICML 2019.
    Departures: none.
    """
    squared = mutual_information(codes, factors, bins) ** 2
    _at_least_two("factors", squared.shape[1])
    best = squared.max(axis=1)
    # The information of a constant code is rounding noise, whose ratios would be arbitrary.
    informative = best > 1e-24
    rest = (squared.sum(axis=1) - best) / np.where(informative, best * (squared.shape[1] - 1), 1.0)
    return float(np.where(informative, 1.0 - rest, 0.0).mean())


def dci(train_codes, train_factors, test_codes, test_factors, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness, from the importance R [d,F] of codes to classifiers.

    Extremely randomised trees predict each factor from all codes; `R_jf` is the share of the decrease of the
    Gini impurity that is due to code j. With `H_b` the entropy to base b of a row or column of R that was
    divided by its sum,

        D = sum_j rho_j (1 - H_F(R_j:)),    rho_j = sum_f R_jf / sum R        (a code serves one factor)
        C = sum_f rho_f (1 - H_d(R_:f)),    rho_f = sum_j R_jf / sum R        (a factor sits in one code)
        I = mean over factors of the accuracy on the test images.

    Args:
        train_codes: [n,d] finite, d >= 2.
        train_factors: int [n,F], F >= 2.
        test_codes: [t,d].
        test_factors: int [t,F].
        seed: of the trees.

    Returns:
        `DCI`; I is the plain accuracy, whose chance level is the share of the commonest value.

    Raises:
        ValueError: shapes that do not agree.
        UserError: codes that are not finite, a training factor with one value, d or F below 2.

    Example:
        >>> grid = np.stack(np.meshgrid(range(8), range(8)), -1).reshape(-1, 2)
        >>> score = dci(np.tile(grid, (3, 1)), np.tile(grid, (3, 1)), grid, grid)
        >>> round(score.disentanglement, 3), round(score.completeness, 3), score.informativeness
        (1.0, 1.0, 1.0)

    Source: Eastwood and Williams, A framework for the quantitative evaluation of disentangled
    representations, ICLR 2018, section 2; weights as in Locatello et al., ICML 2019.
    Departures: the paper takes lasso and random forests, the common library 100 boosted trees, which need
    minutes for 64 codes. These are 30 extremely randomised trees that try every code at each split (so that a
    useless code is not taken for want of a better) and keep 6 images in a leaf (so that noise is not fitted).
    On 2,000 images D and C differ by up to 0.04 from boosted trees: compare only values of this function.
    """
    return _dci("dci", (train_codes, train_factors, test_codes, test_factors), "d", seed)


def part_dci(train_codes, train_factors, test_codes, test_factors, seed: int = 0) -> DCI:
    """`dci` between parts and factors: the importance of a part is the sum over its M code entries.

    `R_kf = sum_m R_(k,m)f`; D is to base F over the K rows, C to base K. High D: a part speaks of one factor,
    in however many of its entries. High C: a factor sits in one part.

    Args:
        train_codes: [n,K,M] finite, K >= 2.
        train_factors: int [n,F], F >= 2; for example one attribute of each true part.
        test_codes: [t,K,M].
        test_factors: int [t,F].
        seed: of the trees.

    Returns:
        `DCI` with importance [K,F].

    Raises:
        ValueError: shapes that do not agree.
        UserError: codes that are not finite, a training factor with one value, K or F below 2.

    Example:
        >>> grid = np.tile(np.stack(np.meshgrid(range(8), range(8)), -1).reshape(-1, 2), (3, 1))
        >>> codes = np.stack([grid, 7 - grid], axis=-1)  # each part writes its factor twice
        >>> score = part_dci(codes, grid, codes, grid)
        >>> round(score.disentanglement, 3), round(score.completeness, 3)
        (1.0, 1.0)

    Source: Eastwood and Williams, ICLR 2018, section 2, applied to groups of code entries.
    Departures: the grouping, and the trees of `dci`.
    """
    return _dci("part_dci", (train_codes, train_factors, test_codes, test_factors), "K M", seed)


def sap(train_codes, train_factors, test_codes, test_factors) -> float:
    """Separated attribute predictability, `mean_f (S_(1)f - S_(2)f)`, S the accuracy of single codes.

    `S_jf` is the test accuracy of a linear support vector machine (C = 0.01, classes balanced, one against
    the rest) that sees code j alone.

    Args:
        train_codes: [n,d], d >= 2; not standardised here, and C makes the scale matter.
        train_factors: int [n,F], discrete.
        test_codes: [t,d].
        test_factors: int [t,F].

    Returns:
        In [0,1]. Its ceiling is `1 - chance` for two values and lower for more: on one axis a linear machine
        finds only the outer values (about 0.3 for seven values written plainly).

    Raises:
        ValueError: shapes that do not agree.
        UserError: codes that are not finite, a training factor with one value, or d below 2.

    Example:
        >>> grid = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (50, 1))
        >>> sap(2.0 * grid - 1, grid, 2.0 * grid - 1, grid)
        0.5

    Source: Kumar, Sattigeri and Balakrishnan, Variational inference of disentangled latent concepts from
    unlabeled observations, ICLR 2018, section 3; machine and C of Locatello et al., ICML 2019.
    Departures: the same objective is minimised in its primal form, which is deterministic.
    """
    _check("sap", (train_codes, train_factors, test_codes, test_factors), "d")
    codes, new_codes = _codes(train_codes), _codes(test_codes)
    factors, new_factors = _factors(train_factors), np.asarray(test_factors)
    _at_least_two("codes", codes.shape[1])
    scores = np.array(
        [
            [_axis_accuracy((codes[:, [j]], factor), (new_codes[:, [j]], new)) for j in range(codes.shape[1])]
            for factor, new in zip(factors.T, new_factors.T)
        ]
    )
    ranked = np.sort(scores, axis=1)
    return float(np.mean(ranked[:, -1] - ranked[:, -2]))


def factor_vae_score(
    sample: Sample,
    factors: int,
    seed: int = 0,
    votes: tuple[int, int] = (10_000, 5_000),
    batch_size: int = 64,
    variance_from: int = 10_000,
) -> FactorVAEScore:
    """FactorVAE score: is the code that varies least in a batch sharing factor f a sign of f?

    A vote draws f, then a batch of codes that share one value of f, and is cast for
    `argmin_j Var_batch(z_j) / Var(z_j)` over the active codes, those of `Var(z_j)^(1/2) >= 0.05`. Each code
    predicts the factor of most of its training votes; the score is the accuracy on new votes. Both variances
    divide by n - 1; the first of equal codes gets the vote.

    Args:
        sample: `sample(factor, count, generator)` returns codes [count,d] whose images share one random value
            of that factor, and are free in the others; factor None: images drawn freely. `from_arrays` makes
            one from a table.
        factors: F, the number of factors.
        seed: of everything drawn.
        votes: training and test votes.
        batch_size: codes in a vote, at least 2.
        variance_from: codes from which the global variance is estimated, at least 2.

    Returns:
        `FactorVAEScore`; chance is about 1 / F. Without an active code it is (0, 0, 0).

    Raises:
        UserError: fewer than 2 codes in a batch or for the variance.

    Example:
        >>> grid = np.tile(np.stack(np.meshgrid(range(5), range(5)), -1).reshape(-1, 2), (4, 1))
        >>> factor_vae_score(from_arrays(grid, grid), factors=2, votes=(100, 100))
        FactorVAEScore(score=1.0, train_score=1.0, active=2)

    Source: Kim and Mnih, Disentangling by factorising, ICML 2018; numbers of votes, batch and
    threshold of Locatello et al., ICML 2019.
    Departures: `active` counts the active codes; the released library reports the number of all codes.
    """
    if min(batch_size, variance_from) < 2:
        raise UserError(f"found batches of {batch_size} and {variance_from} codes; expected at least 2")
    generator = np.random.default_rng(seed)
    variance = _codes(sample(None, variance_from, generator)).var(axis=0, ddof=1)
    active = np.flatnonzero(np.sqrt(variance) >= SMALLEST_SPREAD)
    if not len(active):
        return FactorVAEScore(0.0, 0.0, 0)

    def table(count: int) -> np.ndarray:
        counts = np.zeros((factors, len(active)), np.int64)
        for factor in generator.integers(factors, size=count):
            codes = np.asarray(sample(int(factor), batch_size, generator), np.float64)[:, active]
            counts[factor, np.argmin(codes.var(axis=0, ddof=1) / variance[active])] += 1
        return counts

    train, test = table(votes[0]), table(votes[1])
    majority = np.argmax(train, axis=0), np.arange(len(active))
    return FactorVAEScore(
        float(test[majority].sum() / test.sum()), float(train[majority].sum() / train.sum()), len(active)
    )


def from_arrays(codes, factors) -> Sample:
    """A `sample` for `factor_vae_score` out of a table: images with replacement, values as often as they occur.

    >>> sample = from_arrays([[1.0], [1.0], [5.0], [5.0]], [[0], [0], [1], [1]])
    >>> float(np.ptp(sample(0, 8, np.random.default_rng(0))))
    0.0
    """
    check_shapes("from_arrays", codes=(codes, "n d"), factors=(factors, "n F"))
    codes, factors = _codes(codes), _factors(factors)
    order = np.argsort(factors, axis=0, kind="stable")
    for index, column in enumerate(factors.T):
        values, counts = np.unique(column, return_counts=True)
        if counts.min() < 2:
            value = values[np.argmin(counts)]
            raise UserError(f"found one image with value {value} of factor {index}; expected at least 2")

    def sample(factor: int | None, count: int, generator: np.random.Generator) -> np.ndarray:
        if factor is None:
            return codes[generator.integers(len(codes), size=count)]
        rows = order[:, factor]
        value = factors[generator.integers(len(codes)), factor]
        low, high = (np.searchsorted(factors[rows, factor], value, side) for side in ("left", "right"))
        return codes[rows[generator.integers(low, high, size=count)]]

    return sample


def _dci(function: str, arrays: tuple, axes: str, seed: int) -> DCI:
    """`dci` of codes [n,d] or, summed over M, of codes [n,K,M]."""
    from sklearn.ensemble import ExtraTreesClassifier  # slow to import, and only the metrics here need it

    sizes = _check(function, arrays, axes)
    codes, factors, new_codes, new_factors = (np.asarray(array) for array in arrays)
    factors = _factors(factors)
    codes, new_codes = (_codes(array).reshape(len(array), -1) for array in (codes, new_codes))
    rows = sizes[axes[0]]
    for kind, count in (("parts" if "M" in axes else "codes", rows), ("factors", factors.shape[1])):
        _at_least_two(kind, count)
    importance, correct = [], []
    for factor, new in zip(factors.T, new_factors.T):
        trees = ExtraTreesClassifier(TREES, max_features=1.0, min_samples_leaf=SMALLEST_LEAF, random_state=seed)
        trees.fit(codes, factor)
        importance.append(trees.feature_importances_.reshape(rows, -1).sum(axis=1))
        correct.append(np.mean(trees.predict(new_codes) == new))
    matrix = np.stack(importance, axis=1)
    return DCI(_concentration(matrix), _concentration(matrix.T), float(np.mean(correct)), matrix)


def _concentration(importance: np.ndarray) -> float:
    """`sum_j rho_j (1 - H(R_j:) / log columns)`, the rows weighted by their sums; 0 where all are 0."""
    total = importance.sum(axis=1, keepdims=True)
    if not total.sum():
        return 0.0
    share = importance / np.where(total > 0, total, 1.0)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1) / np.log(importance.shape[1])
    return float(((1.0 - entropy) * total[:, 0]).sum() / total.sum())


def _axis_accuracy(train: tuple, test: tuple) -> float:
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(*train)
    return float(np.mean(machine.predict(test[0]) == test[1]))


def _bin(column: np.ndarray, bins: int) -> np.ndarray:
    edges = np.linspace(column.min(), column.max(), bins + 1)
    return np.digitize(column, edges[:-1])


def _information(first: np.ndarray, second: np.ndarray) -> float:
    _, second = np.unique(second, return_inverse=True)
    joint = first.astype(np.int64) * (second.max() + 1) + second
    return max(_entropy(first) + _entropy(second) - _entropy(joint), 0.0)


def _entropy(labels: np.ndarray) -> float:
    """Of the shares of the labels, in nats."""
    _, counts = np.unique(labels, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def _check(function: str, arrays: tuple, axes: str) -> dict[str, int]:
    names = "train_codes", "train_factors", "test_codes", "test_factors"
    shapes = f"n {axes}", "n F", f"t {axes}", "t F"
    return check_shapes(function, **dict(zip(names, zip(arrays, shapes))))


def _codes(codes) -> np.ndarray:
    codes = np.asarray(codes, np.float64)
    if not codes.size or not np.isfinite(codes).all():
        raise UserError(f"found codes of shape {codes.shape} that are empty or not finite; expected finite ones")
    return codes


def _factors(factors) -> np.ndarray:
    factors = np.asarray(factors)
    constant = np.flatnonzero((factors == factors[:1]).all(axis=0))
    if len(constant):
        raise UserError(f"found one value only of factors {constant.tolist()}; expected at least 2 of each")
    return factors


def _at_least_two(kind: str, count: int) -> None:
    if count < 2:
        raise UserError(f"found {count} {kind}; expected at least 2")
