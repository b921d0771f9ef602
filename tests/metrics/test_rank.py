"""Rank correlations against SciPy, ties and constant rows among them."""

import numpy as np
import pytest
from scipy import stats

from partrep import UserError
from partrep.metrics.rank import kendall, spearman

RNG = np.random.default_rng(0)
REFERENCES = [(spearman, stats.spearmanr), (kendall, stats.kendalltau)]


@pytest.mark.parametrize("values", [2, 3, 1000], ids=["many ties", "ties", "few ties"])
@pytest.mark.parametrize("count", [2, 3, 6, 50])
def test_against_scipy(values, count):
    first, second = RNG.integers(0, values, (2, 20, count))
    for x, y, found in zip(first, second, spearman(first, second)):
        varies = np.ptp(x) and np.ptp(y)
        assert found == pytest.approx(stats.spearmanr(x, y).statistic if varies else 0.0, abs=1e-12)


def test_ties_by_hand():
    # Ranks 1.5 1.5 3 and 1 2 3: covariance 1.5, variances 1.5 and 2.
    assert spearman([5.0, 5.0, 9.0], [1.0, 2.0, 3.0]).item() == pytest.approx(1.5 / 3**0.5)


def test_only_the_order_counts():
    x, y = RNG.normal(size=(2, 4, 7))
    found = spearman(x, y)
    np.testing.assert_array_equal(found, spearman(np.exp(3 * x), y - 5))
    np.testing.assert_array_equal(found, spearman(y, x))
    np.testing.assert_allclose(found, -spearman(-x, y), atol=1e-15)


def test_equal_orders_are_exactly_one_and_never_more():
    x = RNG.integers(0, 30, (200, 41)).astype(float)
    assert set(spearman(x, 2 * x).tolist()) == {1.0} and set(spearman(x, -x).tolist()) == {-1.0}
    assert np.abs(spearman(x, RNG.normal(size=x.shape))).max() <= 1


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_leading_axes_are_free_and_constant_rows_are_zero(shape):
    found = spearman(np.ones((*shape, 4)), RNG.normal(size=(*shape, 4)))
    assert found.shape == shape and not found.any()


@pytest.mark.parametrize(
    "first, second, message",
    [
        (np.zeros(3), np.zeros(4), r"shapes \(3,\) and \(4,\)"),
        (np.zeros((2, 1)), np.zeros((2, 1)), "expected the same"),
        (1.0, 2.0, "expected the same"),
        ([1.0, np.nan], [1.0, 2.0], "not finite"),
        ([1.0, 2.0], [np.inf, 2.0], "not finite"),
    ],
)
def test_mistakes(first, second, message):
    with pytest.raises(UserError, match=message):
        spearman(first, second)


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
