"""The Modified Hausdorff baseline of the official Omniglot code: no learning, and a known score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from partrep import UserError


def ink_points(image: np.ndarray) -> np.ndarray:
    """f64 [n,2]: (row, column) of the ink (below 128) of a drawing [H,W] or [H,W,1], less their mean."""
    ink = np.squeeze(np.asarray(image)) < 128
    if ink.ndim != 2 or not ink.any():
        raise UserError(
            f"found a drawing of shape {np.shape(image)} with {int(ink.sum())} ink pixels; expected some"
        )
    points = np.argwhere(ink).astype(np.float64)
    return points - points.mean(axis=0)


def modified_hausdorff(first: np.ndarray, second: np.ndarray) -> float:
    """Modified Hausdorff distance of two point sets, `max(mean_a min_b |a - b|, mean_b min_a |a - b|)`.

    Args:
        first: [n,2] points in any unit.
        second: [m,2].

    Returns:
        The distance in the unit of the points.

    Example:
        >>> modified_hausdorff(np.array([[0.0, 0.0], [0.0, 4.0]]), np.array([[0.0, 1.0]]))
        2.0

    Source: Dubuisson and Jain, A modified Hausdorff distance for object matching, ICPR 1994, equation 8 with
    d6 and f2.
    Departures: none.
    """
    return _distance(cKDTree(first), cKDTree(second))


def _distance(first: cKDTree, second: cKDTree) -> float:
    return float(max(second.query(first.data)[0].mean(), first.query(second.data)[0].mean()))


def predict_runs_by_hausdorff(runs: Sequence) -> np.ndarray:
    """int [R,T]: the training drawing nearest to each test drawing; `oneshot.score_runs` reads it."""
    predicted = []
    for run in runs:
        train, test = ([cKDTree(ink_points(image)) for image in images] for images in (run.train, run.test))
        predicted.append(np.array([[_distance(a, b) for b in train] for a in test]).argmin(axis=1))
    return np.stack(predicted)
