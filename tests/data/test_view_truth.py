"""Boxes, keypoints and masks in what a model sees of a photo."""

from __future__ import annotations

import numpy as np

from partrep.data.decode import View
from partrep.data.photos import IGNORED, OBJECT, PhotoSet, PhotoTruth
from partrep.data.view_truth import truth_in_view

VIEW = View(20, 20)  # of a photo of 20 x 40 pixels, the middle columns 10 to 29


def photos(**changes) -> PhotoSet:
    mask = np.zeros((20, 40), np.uint8)
    mask[:10, 20:] = OBJECT
    truth = PhotoTruth(
        sizes=np.tile(np.array([20, 40], np.int32), (3, 1)),
        boxes=np.array([[0, 0.25, 0.5, 0.5], [0, 0, 1, 1], [np.nan] * 4], np.float32),
        keypoints=np.array([[[0.5, 0.5], [0.5, 0.1]]] * 3, np.float32),
        visible=np.array([[True, True], [False, True], [True, False]]),
        keypoint_names=("eye", "tail"),
        mask_of=lambda i: mask if i == 0 else None,
        boxed="head",
    )
    return PhotoSet(None, ("a", "b", "c"), np.zeros(3, np.int32), ("x",), truth_of=truth.take)


def test_everything_moves_with_the_view():
    truth = truth_in_view(photos(), np.array([0, 2, 1]), VIEW)
    np.testing.assert_allclose(truth.boxes[[0, 2]], [[0, 0, 0.5, 0.5], [0, -0.5, 1, 1.5]], atol=1e-6)
    assert np.isnan(truth.boxes[1]).all() and truth.boxed == "head" and truth.names == ("eye", "tail")
    assert truth.visible.tolist() == [[True, False], [True, False], [False, False]]  # the tail is cut off
    np.testing.assert_allclose(truth.keypoints[0, 0], [0.5, 0.5])
    assert np.array_equal(np.isnan(truth.keypoints).any(-1), ~truth.visible)
    assert truth.masks[0, 5, 9:12].tolist() == [0, OBJECT, OBJECT] and (truth.masks[1:] == IGNORED).all()


def test_there_may_be_no_keypoints_no_masks_and_no_truth():
    known = photos().truth
    bare = PhotoTruth(known.sizes, known.boxes, np.zeros((3, 0, 2), np.float32), np.zeros((3, 0), bool))
    made = PhotoSet(None, ("a", "b", "c"), np.zeros(3, np.int32), ("x",), truth_of=bare.take)
    truth = truth_in_view(made, np.arange(3), VIEW)
    assert truth.keypoints.shape == (3, 0, 2) and truth.masks is None and truth.boxed == "object"
    assert truth_in_view(PhotoSet(None, ("a",), np.zeros(1, np.int32), ("x",)), np.arange(1), VIEW) is None
