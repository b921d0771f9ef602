"""Accuracy with few parts and without one: by hand, against loops over images, at both ends."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics.sufficiency import accuracy_without_part, sufficiency_curve


def drawn(n: int = 60, count: int = 5, classes: int = 4, seed: int = 0):
    generator = np.random.default_rng(seed)
    contributions = generator.normal(size=(n, count, classes))
    bias = generator.normal(size=classes)
    predicted = (bias + contributions.sum(axis=1)).argmax(axis=1)
    labels = np.where(generator.random(n) < 0.7, predicted, generator.integers(classes, size=n))
    return contributions, bias, labels


def test_the_curve_is_a_loop_over_images():
    contributions, bias, labels = drawn()
    own = sufficiency_curve(contributions, bias, labels)
    correct, agree = np.zeros((2, 6))
    for u, label in zip(contributions, labels):
        predicted = int(np.argmax(bias + u.sum(axis=0)))
        ranked = sorted(range(5), key=lambda k: -u[k, predicted])
        for k in range(6):
            guess = int(np.argmax(bias + sum((u[j] for j in ranked[:k]), np.zeros(4))))
            correct[k] += guess == label
            agree[k] += guess == predicted
    assert own.accuracy == pytest.approx(correct / 60) and own.agreement == pytest.approx(agree / 60)


def test_ends_are_the_bias_alone_and_the_whole_model():
    contributions, bias, labels = drawn(seed=1)
    own = sufficiency_curve(contributions, bias, labels)
    assert own.accuracy[0] == pytest.approx((labels == bias.argmax()).mean())
    assert own.accuracy[-1] == pytest.approx(((bias + contributions.sum(1)).argmax(1) == labels).mean())
    assert own.agreement[-1] == 1.0


def test_one_sufficient_part_gives_a_step():
    """Part i of image i speaks for its class, all others for nothing."""
    contributions = np.zeros((3, 3, 2))
    contributions[np.arange(3), np.arange(3), 1] = 1.0
    own = sufficiency_curve(contributions, [0.5, 0.0], [1, 1, 1])
    assert own.accuracy.tolist() == [0.0, 1.0, 1.0, 1.0]
    assert accuracy_without_part(contributions, [0.5, 0.0], [1, 1, 1]) == pytest.approx([2 / 3] * 3)


def test_fewer_parts_can_do_better():
    """The wrong class wins by two weak parts; alone, its strongest loses against the bias."""
    contributions = [[[1.0, 0.0], [1.0, 0.0]]]
    assert sufficiency_curve(contributions, [0.0, 1.5], [1]).accuracy.tolist() == [1.0, 1.0, 0.0]


def test_leaving_a_part_out_is_a_loop_over_parts():
    contributions, bias, labels = drawn(seed=2)
    own = accuracy_without_part(contributions, bias, labels)
    for k in range(5):
        logits = bias + np.delete(contributions, k, axis=1).sum(axis=1)
        assert own[k] == pytest.approx((logits.argmax(axis=1) == labels).mean())


def test_permuting_parts_changes_nothing_or_permutes():
    contributions, bias, labels = drawn(seed=3)
    order = np.array([4, 2, 0, 1, 3])
    plain, turned = (sufficiency_curve(u, bias, labels) for u in (contributions, contributions[:, order]))
    assert np.array_equal(plain.accuracy, turned.accuracy) and np.array_equal(plain.agreement, turned.agreement)
    without = accuracy_without_part(contributions, bias, labels)
    assert accuracy_without_part(contributions[:, order], bias, labels) == pytest.approx(without[order])


def test_mistakes_are_named():
    contributions, bias, labels = drawn()
    with pytest.raises(UserError, match="labels outside 0 to 3"):
        sufficiency_curve(contributions, bias, labels + 1)
    with pytest.raises(ValueError, match="bias has shape"):
        accuracy_without_part(contributions, bias[:2], labels)
