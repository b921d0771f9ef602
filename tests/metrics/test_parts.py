"""Qualities of a set of parts: by hand, at their extremes, under permutation, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, wasserstein_distance

from partrep import UserError
from partrep.metrics import parts


def drawn(n: int = 3, count: int = 5, side: int = 4, seed: int = 0) -> np.ndarray:
    share = np.random.default_rng(seed).gamma(0.5, size=(n, count, side, side))
    return share / share.sum(axis=1, keepdims=True)


def test_entropy_of_hard_even_and_half_decided_assignments():
    hard = np.eye(4)[np.random.default_rng(0).integers(4, size=(2, 3, 3))].transpose(0, 3, 1, 2)
    assert parts.assignment_entropy(hard) == pytest.approx([0.0, 0.0])
    assert parts.assignment_entropy(np.full((2, 4, 3, 3), 0.25)) == pytest.approx([1.0, 1.0])
    half = np.stack([hard[0], np.full((4, 3, 3), 0.25)])
    assert parts.assignment_entropy(half) == pytest.approx([0.0, 1.0])


def test_entropy_by_hand():
    """Shares 1/4 and 3/4: 0.5623 / 0.6931."""
    assert parts.assignment_entropy([[[[0.25]], [[0.75]]]]) == pytest.approx([0.8112781], abs=1e-6)


def test_histogram_counts_every_image_once_with_both_ends():
    presence = np.array([[0.0, 0.05], [0.1, 1.0], [0.999, 1.0], [1.0, 0.35]])
    own = parts.occurrence_histogram(presence)
    for k in range(2):
        assert own[k] == pytest.approx(np.histogram(presence[:, k], bins=10, range=(0, 1))[0] / 4)


def test_distance_from_the_prior_is_that_of_its_quantiles():
    presence = np.random.default_rng(1).random((50, 3)) ** 2
    quantiles = beta.ppf((2 * np.arange(1, 51) - 1) / 100, 0.5, 2.0)
    expected = [wasserstein_distance(column, quantiles) for column in presence.T]
    assert parts.occurrence_distance(presence, 0.5, 2.0) == pytest.approx(expected)
    assert parts.occurrence_distance(quantiles[::-1, None], 0.5, 2.0) == pytest.approx([0.0], abs=1e-12)


def test_parts_that_are_always_there_fit_the_released_prior_and_absent_ones_are_far():
    presence = np.stack([np.ones(64), np.zeros(64)], axis=1)
    assert parts.occurrence_distance(presence, 1.0, 0.001) == pytest.approx([0.0, 1.0], abs=1e-3)


def test_areas_sum_to_one():
    assignment = drawn()
    assert parts.part_area(assignment).sum(axis=1) == pytest.approx(np.ones(3))
    assert parts.part_area(assignment)[1, 2] == pytest.approx(assignment[1, 2].mean())


def test_overlap_of_disjoint_equal_and_empty_parts():
    disjoint = np.eye(4).reshape(1, 4, 2, 2)
    assert parts.part_iou(disjoint) == pytest.approx([0.0])
    assert parts.part_iou(np.ones((1, 3, 2, 2))) == pytest.approx([1.0])
    assert parts.part_iou(np.zeros((1, 3, 2, 2))) == pytest.approx([0.0])


def test_overlap_is_the_mean_over_pairs_of_masks_and_of_weights():
    masks = np.random.default_rng(2).random((2, 5, 3, 4)) < 0.5
    pairs = [(k, j) for k in range(5) for j in range(k + 1, 5)]
    hard = [np.mean([(m[k] & m[j]).sum() / (m[k] | m[j]).sum() for k, j in pairs]) for m in masks]
    assert parts.part_iou(masks) == pytest.approx(hard)
    soft = drawn()
    loop = [np.mean([np.minimum(a[k], a[j]).sum() / np.maximum(a[k], a[j]).sum() for k, j in pairs]) for a in soft]
    assert parts.part_iou(soft) == pytest.approx(loop)


def test_permuting_parts_changes_nothing_or_permutes():
    assignment, order = drawn(), np.array([3, 0, 4, 1, 2])
    turned = assignment[:, order]
    assert parts.assignment_entropy(turned) == pytest.approx(parts.assignment_entropy(assignment))
    assert parts.part_iou(turned) == pytest.approx(parts.part_iou(assignment))
    assert parts.part_area(turned) == pytest.approx(parts.part_area(assignment)[:, order])
    presence = assignment.max(axis=(2, 3))
    distance = parts.occurrence_distance(presence, 1.0, 1.0)
    assert parts.occurrence_distance(presence[:, order], 1.0, 1.0) == pytest.approx(distance[order])


def test_duplicates_by_hand():
    vectors = np.array([[1.0, 0.0], [3.0, 0.3], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    assert parts.duplicate_parts(vectors) == pytest.approx(2 / 6)
    assert parts.duplicate_parts(vectors, threshold=0.7) == pytest.approx(3 / 6)
    assert parts.duplicate_parts(np.ones((4, 3))) == 1.0
    assert parts.duplicate_parts(np.eye(4)) == 0.0
    assert parts.duplicate_parts(np.ones((1, 3))) == 0.0


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"miss a sum of 1 by 0\.5"):
        parts.assignment_entropy(np.full((1, 2, 2, 2), 0.25))
    with pytest.raises(UserError, match="found 1 parts"):
        parts.part_iou(np.ones((1, 1, 2, 2)))
    with pytest.raises(UserError, match=r"outside \[0, 1\]"):
        parts.occurrence_histogram([[1.5]])
    with pytest.raises(UserError, match=r"Beta\(0, 1\)"):
        parts.occurrence_distance([[0.5]], 0, 1)
    with pytest.raises(ValueError, match=r"\[n,K,h,w\]"):
        parts.part_area(np.ones((2, 2, 2)))
