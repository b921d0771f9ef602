"""What is known of photos beside their class, as a model sees it: boxes, keypoints and masks in its view of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from partrep.data.decode import View
from partrep.data.photos import IGNORED, PhotoSet


class ViewTruth(NamedTuple):
    """The truth of n photos in a view of S x S pixels, coordinates (y, x) in [0,1] over the view."""

    boxes: np.ndarray
    """f64 [n,4] (y0,x0,y1,x1) of what `boxed` says, beyond [0,1] where it is cut off; NaN where unknown"""
    keypoints: np.ndarray
    """f64 [n,P,2]; NaN where not visible"""
    visible: np.ndarray
    """bool [n,P]: visible, and inside of the view"""
    masks: np.ndarray | None
    """u8 [n,S,S] of `BACKGROUND`, `OBJECT` and `IGNORED`, all of it ignored where unknown; None: no masks"""
    boxed: str = "object"
    """what the boxes are around"""
    names: tuple[str, ...] = ()
    """of the P keypoints"""


def truth_in_view(photos: PhotoSet, indices: np.ndarray, view: View) -> ViewTruth | None:
    """The truth of the photos at `indices` int [n] as a model sees them; None of a set without any.

    Raises:
        UserError: an annotation that cannot be read.
    """
    if photos.truth_of is None:
        return None
    truth = photos.truth_of(np.asarray(indices))
    keypoints = _moved(view, truth.keypoints, truth.sizes)
    inside = truth.visible & ((keypoints >= 0) & (keypoints <= 1)).all(axis=-1)
    return ViewTruth(
        _moved(view, truth.boxes, truth.sizes),
        np.where(inside[..., None], keypoints, np.nan),
        inside,
        None if truth.mask_of is None else np.stack([_mask(view, truth.mask(i)) for i in range(len(indices))]),
        truth.boxed,
        truth.keypoint_names,
    )


def _moved(view: View, points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Points [n,...] of n photos in the view, f64; there may be none."""
    if not points.size:
        return points.astype(np.float64)
    moved = [view.in_view(each, tuple(size)) for each, size in zip(points.astype(np.float64), sizes.tolist())]
    return np.stack(moved)


def _mask(view: View, mask: np.ndarray | None) -> np.ndarray:
    return np.full((view.crop, view.crop), IGNORED, np.uint8) if mask is None else view.mask_in_view(mask)
