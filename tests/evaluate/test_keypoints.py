"""Parts against keypoints: true parts score one, one part nothing, and what is not visible counts nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.data.view_truth import ViewTruth
from partrep.evaluate.discovery import Found
from partrep.evaluate.keypoints import has_keypoints, keypoint_counts, keypoint_table

CELLS, SIDE, POINTS = 8, 32, 3


def world(n: int = 12, seed: int = 0) -> tuple[Found, ViewTruth]:
    """Three keypoints on a diagonal that moves about, each in the middle of a part of one cell."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, CELLS - 3, (n, 2))
    cells = start[:, None] + np.arange(POINTS)[:, None]  # [n,3,2]
    assignment = np.zeros((n, POINTS, CELLS, CELLS), np.float32)
    photo, part = np.indices((n, POINTS))
    assignment[photo, part, cells[..., 0], cells[..., 1]] = 1
    boxes = np.concatenate([start, start + 3], axis=1) / CELLS
    truth = ViewTruth(boxes, (cells + 0.5) / CELLS, np.ones((n, POINTS), bool), None, "object", ("a", "b", "c"))
    return Found(assignment, 1 - assignment.sum(1)), truth


def test_true_parts_score_one():
    (found, truth), (other, unseen) = world(), world(seed=1)
    scores = keypoint_table({"x": (found, other)}, truth, unseen, SIDE)["x"]
    assert scores["nmi_keypoints"] == pytest.approx(1) and scores["ari_keypoints"] == pytest.approx(1)
    assert scores["keypoint_error"] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(keypoint_counts(other, unseen, SIDE), np.eye(3, 4, 1, int) * 12)


def test_one_part_for_all_says_nothing():
    found, truth = world()
    one = np.zeros_like(found.assignment)
    one[:, 0] = 1
    truth = truth._replace(boxes=np.tile([0.0, 0.0, 1.0, 1.0], (12, 1)))
    scores = keypoint_table({"x": (Found(one), Found(one))}, truth, truth, SIDE)["x"]
    assert scores["nmi_keypoints"] == pytest.approx(0, abs=1e-9) and scores["keypoint_error"] > 1


def test_what_cannot_be_seen_counts_nowhere():
    found, truth = world()
    visible, keypoints, boxes = truth.visible.copy(), truth.keypoints.copy(), truth.boxes.copy()
    visible[0], keypoints[0] = False, np.nan  # a photo without any
    visible[1, 0], keypoints[1, 0] = False, np.nan
    boxes[2] = np.nan  # counts for the parts, not for places
    seen = truth._replace(visible=visible, keypoints=keypoints, boxes=boxes)
    assert keypoint_counts(found, seen, SIDE).sum(1).tolist() == [10, 11, 11]
    assert keypoint_table({"x": (found, found)}, seen, seen, SIDE)["x"]["keypoint_error"] == pytest.approx(0, abs=1e-6)
    nothing = truth._replace(visible=np.zeros_like(visible))
    assert has_keypoints(seen) and not has_keypoints(nothing) and not has_keypoints(truth._replace(boxed="head"))


def test_other_numbers_of_regions_are_refused():
    found, truth = world()
    fewer = Found(found.assignment)
    with pytest.raises(UserError, match="equal numbers of regions"):
        keypoint_table({"x": (found, found), "y": (fewer, fewer)}, truth, truth, SIDE)
