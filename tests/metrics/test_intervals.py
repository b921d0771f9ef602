"""Intervals against hand values, scipy, the standard library and their own coverage."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy import stats

from partrep import UserError
from partrep.metrics import intervals


def test_mean_interval_is_mean_and_196_standard_errors():
    values = [0.2, 0.4, 0.9, 0.5]
    expected = 1.96 * statistics.stdev(values) / 2
    interval = intervals.mean_interval(values)
    assert interval.mean == pytest.approx(0.5) and interval.half == pytest.approx(expected, rel=1e-12)


def test_student_interval_equals_scipy():
    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    interval = intervals.mean_interval(values, student=True)
    np.testing.assert_allclose([interval.low, interval.high], [low, high], rtol=1e-12)


@pytest.mark.parametrize("bad", [[1.0], [1.0, np.nan], [[1.0, 2.0]], []])
def test_mean_interval_refuses(bad):
    with pytest.raises(UserError, match="found"):
        intervals.mean_interval(bad)


def test_bootstrap_is_reproducible_and_depends_on_the_seed():
    generator = np.random.default_rng(1)
    values, groups = generator.normal(size=60), np.arange(60) % 12
    first = intervals.bootstrap_interval(values, groups, seed=3)
    assert first == intervals.bootstrap_interval(values, groups, seed=3)
    assert first != intervals.bootstrap_interval(values, groups, seed=4)


def test_bootstrap_keeps_groups_together():
    """Two opposite groups: resampling them whole gives [0, 1], single values give a narrow interval."""
    values = np.repeat([0.0, 1.0], 500)
    together = intervals.bootstrap_interval(values, values)
    apart = intervals.bootstrap_interval(values, np.arange(1000))
    assert (together.low, together.high) == (0.0, 1.0)
    assert apart.high - apart.low < 0.1


def test_bootstrap_of_single_values_is_near_the_normal_interval():
    values = np.random.default_rng(2).normal(size=400)
    boot = intervals.bootstrap_interval(values, np.arange(400))
    assert boot.half == pytest.approx(intervals.mean_interval(values).half, rel=0.05)


def test_bootstrap_weighs_values_not_groups():
    assert intervals.bootstrap_interval([1.0, 0.0, 0.0, 0.0], [0, 1, 1, 1]).mean == 0.25


def test_bootstrap_refuses_one_group_and_odd_lengths():
    with pytest.raises(UserError, match="2 groups"):
        intervals.bootstrap_interval([1.0, 2.0], [0, 0])
    with pytest.raises(UserError, match="shape"):
        intervals.bootstrap_interval([1.0, 2.0], [0, 1, 2])


def test_paired_interval_of_one_row_is_the_interval_of_differences():
    generator = np.random.default_rng(3)
    first, second = generator.random((2, 50))
    assert intervals.paired_interval(first, second) == intervals.mean_interval(first - second)
    assert intervals.paired_interval(first[None], second) == intervals.mean_interval(first - second)


def test_pairing_removes_the_difficulty_of_the_episodes():
    generator = np.random.default_rng(4)
    difficulty = generator.normal(size=600)
    first, second = difficulty + 0.1 * generator.normal(size=(2, 600))
    assert intervals.paired_interval(first, second).half < 0.3 * intervals.mean_interval(first).half


def test_a_method_without_seeds_meets_every_seed():
    generator = np.random.default_rng(5)
    first, second = generator.random((3, 40)), generator.random(40)
    assert intervals.paired_interval(first, second) == intervals.crossed_interval(first - second)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (3, 3)), ((2, 3), (2, 4)), ((), ())])
def test_paired_interval_refuses_shapes_that_do_not_pair(shapes):
    with pytest.raises(UserError, match="do not pair"):
        intervals.paired_interval(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_crossed_interval_by_hand():
    """An additive table: MS_residual = 0, MS_rows = 3 (0.25^2 + 0.25^2), MS_columns = 2 (1 + 1) / 2."""
    interval = intervals.crossed_interval([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]])
    freedom = 2.375**2 / (0.375**2 / 1 + 2.0**2 / 2)
    expected = stats.t.ppf(0.975, freedom) * np.sqrt(2.375 / 6)
    assert interval.mean == 2.25 and interval.half == pytest.approx(expected, rel=1e-12)


def test_crossed_interval_of_equal_values_has_no_width():
    assert intervals.crossed_interval(np.full((3, 4), 0.5)) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("seed_spread", [0.0, 1.0])
def test_crossed_interval_covers_the_truth(seed_spread):
    """Simulated from the two-way model with true mean 0: about 95 % of the intervals hold it."""
    generator, hits, trials = np.random.default_rng(6), 0, 400
    for _ in range(trials):
        values = (
            seed_spread * generator.normal(size=(3, 1))
            + generator.normal(size=(1, 60))
            + 2.0 * generator.normal(size=(3, 60))
        )
        hits += not intervals.crossed_interval(values).excludes_zero
    assert 0.91 <= hits / trials <= 1.0


def test_sign_flip_test_against_all_flips():
    """Six differences: the exact two-sided p value by enumeration."""
    differences = np.array([0.5, 0.2, -0.1, 0.4, 0.3, 0.6])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
    assert intervals.sign_flip_test(differences, resamples=20_000) == pytest.approx(exact, abs=0.01)


def test_sign_flip_test_is_symmetric_and_never_zero():
    differences = np.random.default_rng(7).normal(0.5, size=100)
    assert intervals.sign_flip_test(differences) == intervals.sign_flip_test(-differences) > 0
