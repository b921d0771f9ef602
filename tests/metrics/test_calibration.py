"""Calibration: hand-worked values, loops over images, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics.calibration import brier, expected_calibration_error, negative_log_likelihood, softmax


def drawn(n: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(n, classes)) * 2, generator.integers(classes, size=n)


def test_hand_worked_values():
    thirds = np.log([[1.0, 2.0, 3.0]])  # probabilities 1/6, 1/3, 1/2
    assert negative_log_likelihood(thirds, [2]) == pytest.approx(math.log(2))
    assert negative_log_likelihood(np.zeros((2, 8)), [0, 7]) == pytest.approx(math.log(8))
    assert brier([[1 / 6, 1 / 3, 1 / 2]], [1]) == pytest.approx(1 / 36 + 4 / 9 + 1 / 4)
    assert brier([[1.0, 0.0], [1.0, 0.0]], [0, 1]) == 1.0 and brier(np.full((1, 4), 0.25), [3]) == 0.75
    # 0.9 twice, one right: 2/4 |0.5 - 0.9|; 0.6 twice, both right: 2/4 |1 - 0.6|
    two = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]]
    assert expected_calibration_error(two, [0, 1, 0, 1]) == pytest.approx(0.4)
    assert expected_calibration_error(two, [0, 1, 0, 1], bins=1) == pytest.approx(0.0)  # three of four, 0.75 on average


def test_they_equal_loops_over_images():
    logits, labels = drawn()
    likelihood, squares, bins = 0.0, 0.0, {}
    for z, label in zip(logits, labels):
        p = [math.exp(x) / sum(math.exp(y) for y in z) for x in z]
        likelihood -= math.log(p[label]) / len(labels)
        squares += sum((q - (c == label)) ** 2 for c, q in enumerate(p)) / len(labels)
        b = next(b for b in range(15) if b / 15 < max(p) <= (b + 1) / 15)
        bins.setdefault(b, []).append((p.index(max(p)) == label, max(p)))
    gap = sum(abs(sum(r for r, _ in each) - sum(q for _, q in each)) for each in bins.values()) / len(labels)
    probabilities = softmax(logits)
    assert negative_log_likelihood(logits, labels) == pytest.approx(likelihood, abs=1e-12)
    assert brier(probabilities, labels) == pytest.approx(squares, abs=1e-12)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(gap, abs=1e-12)


def test_what_is_certain_and_wrong_stays_finite_and_what_is_added_to_all_logits_is_nothing():
    logits, labels = drawn()
    assert negative_log_likelihood([[0.0, 2000.0]], [0]) == 2000.0
    assert negative_log_likelihood(logits + 1e3, labels) == pytest.approx(negative_log_likelihood(logits, labels))
    assert expected_calibration_error([[1.0, 0.0], [0.5, 0.5]], [0, 0]) == 0.25  # 1 and 0.5 lie in bins of their own


@pytest.mark.parametrize("metric", [negative_log_likelihood, brier, expected_calibration_error])
def test_what_is_refused(metric):
    with pytest.raises(UserError, match="labels outside 0 to 1"):
        metric([[0.5, 0.5]], [2])
    with pytest.raises(UserError, match="not finite"):
        metric([[np.nan, 0.5]], [1])
    with pytest.raises(UserError, match="no images"):
        metric(np.zeros((0, 2)), np.zeros(0, int))
    with pytest.raises(ValueError, match=r"expected \[n\]"):
        metric([[0.5, 0.5]], [0, 1])
    with pytest.raises(UserError, match="0 bins"):
        expected_calibration_error([[0.5, 0.5]], [1], bins=0)
