"""Keypoint regression: how well the centroids of the parts, and nothing else, place the landmarks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from partrep import UserError


class Placed(NamedTuple):
    """Part centroids and landmarks of n images, coordinates (y, x) in [0,1] over the image."""

    centroid: np.ndarray
    """[n,K,2]"""
    keypoints: np.ndarray
    """[n,P,2]; any value where not visible"""
    visible: np.ndarray
    """bool [n,P]"""
    box: np.ndarray
    """[n,4] (y0,x0,y1,x1) of the object"""
    active: np.ndarray | None = None
    """bool [n,K], parts that count in each image; None: all of them"""


class KeypointError(NamedTuple):
    """Error of each landmark in per cent of the box side, and on how many test images it was visible."""

    percent: np.ndarray
    images: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over all visible (image, landmark) pairs, the number papers print."""
        seen = self.images > 0
        return float((self.percent[seen] * self.images[seen]).sum() / self.images.sum())


def keypoint_error(train: Placed, test: Placed) -> KeypointError:
    """Error of landmarks regressed linearly on part centroids, in per cent of the box side.

    Centroids and landmarks are taken into the box, `((y - y0) / (y1 - y0), (x - x0) / (x1 - x0))`. For each
    landmark, on the training images where it is visible, the 2K inputs and the 2 outputs are standardised and
    a linear map without intercept is fitted by least squares; on test images `error = 100 |prediction -
    truth|_2`, averaged over those where the landmark is visible.

    Two variants are in use, and differ in `active`. None: every centroid enters (Huang and Li). `max_n A_kn >
    0.5`: the standardised inputs of other parts are set to 0, which is their mean (PDiscoNet, PDiscoFormer).
    Generic spread points can do well on box-normalised data: report the grid and random baselines beside it.

    Args:
        train: `Placed` images to fit on.
        test: `Placed` images to score on, of the same K and P.

    Returns:
        `KeypointError` of P landmarks; a landmark never visible in training or test is not a number, with
        0 images.

    Raises:
        UserError: K or P that differ, empty boxes, or no landmark that can be scored.

    Example:
        >>> shift = np.random.default_rng(0).random((9, 1, 2))
        >>> images = Placed(shift, shift + 0.1, np.ones((9, 1), bool), np.tile([0.0, 0, 2, 2], (9, 1)))
        >>> round(keypoint_error(images, images).mean, 6)
        0.0

    Source: Huang and Li, Interpretable and accurate fine-grained recognition via region grouping, CVPR 2020,
    section 4.2; van der Klis et al., PDiscoNet, ICCV 2023, section 4.3, and their evaluation code.
    Departures: grid cells have centres (i + 0.5) / n; the region-grouping code is half a cell off.
    """
    if train.centroid.shape[1:] != test.centroid.shape[1:] or train.visible.shape[1] != test.visible.shape[1]:
        raise UserError(
            f"found {train.centroid.shape[1]} parts and {train.visible.shape[1]} landmarks in training, "
            f"{test.centroid.shape[1]} and {test.visible.shape[1]} in test; expected the same"
        )
    landmarks = range(train.visible.shape[1])
    per_landmark = [_landmark_error(_one_landmark(train, p), _one_landmark(test, p)) for p in landmarks]
    percent, count = (np.array(column) for column in zip(*per_landmark))
    if not count.sum():
        raise UserError("found no landmark that is visible in both training and test images; expected one")
    return KeypointError(percent.astype(np.float64), count.astype(np.int64))


def _one_landmark(placed: Placed, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs [m,2K], outputs [m,2] in the box, active inputs [m,2K], where the landmark is visible."""
    kept = np.asarray(placed.visible, bool)[:, index]
    centroid = np.asarray(placed.centroid, np.float64)[kept]
    corner, side = _corner_and_side(np.asarray(placed.box, np.float64)[kept])
    inputs = ((centroid - corner[:, None]) / side[:, None]).reshape(-1, 2 * centroid.shape[1])
    outputs = (np.asarray(placed.keypoints, np.float64)[kept, index] - corner) / side
    active = (
        np.ones(centroid.shape[:2], bool) if placed.active is None else np.asarray(placed.active, bool)[kept]
    )
    return inputs, outputs, np.repeat(active, 2, axis=1)


def _corner_and_side(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corner, side = box[:, :2], box[:, 2:] - box[:, :2]
    if (side <= 0).any():
        raise UserError(
            f"found {int((side <= 0).any(axis=1).sum())} empty boxes; expected y0 < y1 and x0 < x1"
        )
    return corner, side


def _landmark_error(train: tuple, test: tuple) -> tuple[float, int]:
    (inputs, outputs, active), (new_inputs, new_outputs, new_active) = train, test
    if not len(inputs) or not len(new_inputs):
        return float("nan"), 0
    (centre, scale), (out_centre, out_scale) = _standards(inputs), _standards(outputs)
    standard = np.where(active, (inputs - centre) / scale, 0.0)
    weights, *_ = np.linalg.lstsq(standard, (outputs - out_centre) / out_scale, rcond=None)
    predicted = np.where(new_active, (new_inputs - centre) / scale, 0.0) @ weights * out_scale + out_centre
    return 100.0 * float(np.linalg.norm(predicted - new_outputs, axis=1).mean()), len(new_inputs)


def _standards(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = values.std(axis=0)
    # A centroid that never moves has rounding noise for a spread; divided by it, noise would become an input.
    return values.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)
