"""Reliance: by hand, against a loop over images and classes, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics.reliance import reliance


def drawn(n: int = 40, parts: int = 5, classes: int = 4, seed: int = 0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, parts, classes)) + generator.normal(size=(parts, classes)), generator.normal(size=classes)


def test_it_is_a_sum_of_covariances_with_the_decisions():
    contributions, bias = drawn()
    predicted = [int(np.argmax(bias + u.sum(0))) for u in contributions]
    shares = np.zeros(5)
    for k in range(5):
        for c in range(4):
            decided = [float(each == c) for each in predicted]
            shares[k] += np.cov(decided, contributions[:, k, c], bias=True)[0, 1]
    assert reliance(contributions, bias) == pytest.approx(shares / shares.sum())


def test_it_is_the_part_of_the_margin_over_the_mean_class_that_varies():
    contributions, bias = drawn(seed=1)
    predicted = (bias + contributions.sum(1)).argmax(1)
    moving = contributions - contributions.mean(0)
    margin = np.take_along_axis(moving, predicted[:, None, None], 2)[..., 0] - moving.mean(2)
    assert reliance(contributions, bias) == pytest.approx(margin.mean(0) / margin.mean(0).sum())


def test_by_hand():
    """Two images, two classes: the first part decides by 2 either way, the second takes a half of that back."""
    contributions = [[[2.0, 0.0], [-1.0, 0.0]], [[0.0, 2.0], [0.0, -1.0]]]
    assert reliance(contributions, [0.0, 0.0]).tolist() == [2.0, -1.0]


def test_what_moves_no_decision_does_not_count():
    contributions, bias = drawn(seed=2)
    own = reliance(contributions, bias)
    constant = np.random.default_rng(3).normal(size=(5, 4))
    assert reliance(contributions + constant, bias - constant.sum(0)) == pytest.approx(own)
    alike = np.random.default_rng(4).normal(size=(40, 5, 1))
    assert reliance(contributions + alike, bias) == pytest.approx(own)
    assert own.sum() == pytest.approx(1.0) and np.ptp(own) > 0.05


def test_a_constant_part_has_none_however_large():
    contributions, bias = drawn(seed=5)
    contributions[:, 2] = 50.0 * np.arange(4)
    found = reliance(contributions, bias - contributions[0, 2])
    assert abs(found[2]) < 1e-12 and found.max() > 0.2


def test_permuting_parts_permutes_and_scaling_changes_nothing():
    contributions, bias = drawn(seed=6)
    order = np.array([3, 0, 4, 1, 2])
    own = reliance(contributions, bias)
    assert reliance(contributions[:, order], bias) == pytest.approx(own[order])
    assert reliance(7 * contributions, 7 * bias) == pytest.approx(own)


def test_where_all_decisions_are_one_nothing_is_relied_on():
    contributions, _ = drawn()
    assert reliance(contributions, [100.0, 0.0, 0.0, 0.0]).tolist() == [0.0] * 5


def test_mistakes_are_named():
    contributions, bias = drawn()
    with pytest.raises(ValueError, match="reliance: bias has shape"):
        reliance(contributions, bias[:2])
    with pytest.raises(UserError, match="reliance: found no images"):
        reliance(contributions[:0], bias)
