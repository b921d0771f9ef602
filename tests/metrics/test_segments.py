"""IoU by hand and by masks, and the matching against all permutations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics.clustering import contingency_table
from partrep.metrics.segments import iou_matrix, part_overlap


def test_iou_equals_masks():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(4, size=(2, 9, 9)), generator.integers(5, size=(2, 9, 9))
    matrix = iou_matrix(contingency_table(truth, predicted, (4, 5)))
    for i, j in itertools.product(range(4), range(5)):
        both, either = ((truth == i) & (predicted == j)).sum(), ((truth == i) | (predicted == j)).sum()
        assert matrix[i, j] == pytest.approx(both / either)


def test_empty_labels_have_no_overlap():
    assert iou_matrix(np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("predicted", [3, 4, 6])
def test_matching_is_the_best_of_all(predicted):
    table = np.random.default_rng(predicted).integers(1, 50, size=(5, predicted + 1))
    overlap = part_overlap(table, [1, 2, 3, 4], range(1, predicted + 1))
    matrix = iou_matrix(table)[1:, 1:]
    if predicted < 4:
        matrix = np.concatenate([matrix, np.zeros((4, 4 - predicted))], axis=1)
    best = max(
        sum(matrix[i, p] for i, p in enumerate(order))
        for order in itertools.permutations(range(max(predicted, 4)), 4)
    )
    assert overlap.iou.sum() == pytest.approx(best) and overlap.mean == pytest.approx(best / 4)
    assert (overlap.match == -1).sum() == max(0, 4 - predicted)


def test_invariant_to_the_order_of_predicted_parts():
    table = np.random.default_rng(1).integers(1, 50, size=(4, 6))
    order = np.array([3, 0, 5, 1, 4, 2])
    first, second = (
        part_overlap(table, [1, 2, 3], range(6)),
        part_overlap(table[:, order], [1, 2, 3], range(6)),
    )
    np.testing.assert_allclose(first.iou, second.iou)
    assert (order[second.match] == first.match).all()


def test_truth_has_overlap_one_and_background_counts_against_a_part():
    truth = np.random.default_rng(2).integers(4, size=500)
    perfect = contingency_table(truth, (truth + 1) % 4, (4, 4))
    assert part_overlap(perfect, [1, 2, 3], [2, 3, 0]).iou.tolist() == [1.0, 1.0, 1.0]
    spread = np.where(truth == 0, 1, truth)
    assert part_overlap(contingency_table(truth, spread, (4, 4)), [1, 2, 3], [1, 2, 3]).iou[0] < 0.6


def test_refusals():
    with pytest.raises(UserError, match="expected some"):
        part_overlap(np.ones((2, 2)), [], [0])
    with pytest.raises(UserError, match="shape"):
        iou_matrix(np.ones(3))
