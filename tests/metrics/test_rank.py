"""Rank correlations against SciPy, ties and constant rows among them."""

import numpy as np
import pytest
from scipy import stats

from partrep import UserError
from partrep.metrics.rank import kendall, spearman

RNG = np.random.default_rng(0)
REFERENCES = [(spearman, stats.spearmanr), (kendall, stats.kendalltau)]


@pytest.mark.parametrize("function, reference", REFERENCES)
def test_rows_equal_scipy_with_and_without_ties(function, reference):
    first = np.concatenate([RNG.normal(size=(5, 8)), RNG.integers(3, size=(5, 8))])
    second = np.concatenate([RNG.normal(size=(5, 8)), RNG.integers(4, size=(5, 8))])
    want = [reference(one, two).statistic for one, two in zip(first, second)]
    np.testing.assert_allclose(function(first, second), want, atol=1e-12)
    np.testing.assert_allclose(function(first.reshape(2, 5, 8), second.reshape(2, 5, 8)).ravel(), want, atol=1e-12)
    np.testing.assert_allclose(function(-np.exp(first), second), np.negative(want), atol=1e-12)


@pytest.mark.parametrize("function", [spearman, kendall])
def test_a_constant_row_is_chance_and_mistakes_are_named(function):
    assert function([[1.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [5.0, 6.0]]).tolist() == [0.0, 1.0]
    with pytest.raises(UserError, match=r"shapes \(2,\) and \(3,\)"):
        function([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="not finite"):
        function([1.0, np.nan], [1.0, 2.0])
