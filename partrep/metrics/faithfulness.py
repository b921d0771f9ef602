"""Faithfulness and place of saliency maps, from scores of a model that was run on masked images elsewhere.

Let o be the probability of the target class (say which: here the one predicted on the whole image) and e the
same after the image was multiplied by the map; say also what fills the rest. Average drop, gain and increase
favour large maps (all ones: 0, 0, 0), insertion and deletion small ones: give the area beside them, or
compare at equal area (`at_matched_area`). Where a number of pixels is taken, those of equal value are in reading order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt

from partrep import UserError
from partrep.shapes import check_shapes

TIE = 1e-6
"""Values that differ by less than this part of the greatest are as strong: their differences are rounding."""


class InsertionDeletion(NamedTuple):
    """Areas under the two curves of each image; high insertion and low deletion are good."""

    insertion: np.ndarray
    """[n]"""
    deletion: np.ndarray
    """[n]"""

    @property
    def difference(self) -> np.ndarray:
        """[n], insertion less deletion, in which a constant score cancels."""
        return self.insertion - self.deletion


def average_drop(original, masked) -> float:
    """AD: relative loss of probability under the mask, `100 mean_i max(0, o_i - e_i) / o_i`; lower is better.

    Args:
        original: [n] in [0,1], `o`.
        masked: [n] in [0,1], `e`.

    Returns:
        Per cent in [0,100]; an image with o = 0 counts 0.

    Raises:
        ValueError: shapes that do not agree.
        UserError: values outside [0,1] or none.

    Example:
        >>> average_drop([0.8, 0.5], [0.4, 0.6])
        25.0

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018.
    Departures: none.
    """
    return float(100.0 * relative_drop(original, masked).mean())


def average_gain(original, masked) -> float:
    """AG: relative gain of probability under the mask, `100 mean_i max(0, e_i - o_i) / (1 - o_i)`; higher is better.

    Args:
        original: [n] in [0,1], `o`.
        masked: [n] in [0,1], `e`.

    Returns:
        Per cent in [0,100]; an image with o = 1 counts 0.

    Raises:
        ValueError: shapes that do not agree.
        UserError: values outside [0,1] or none.

    Example:
        >>> average_gain([0.75, 0.5], [0.5, 0.75])
        25.0

    Source: Zhang et al., Opti-CAM: optimizing saliency maps for interpretability, CVIU 2024.
    Departures: none.
    """
    return float(100.0 * relative_gain(original, masked).mean())


def average_increase(original, masked) -> float:
    """AI: how often the probability rises under the mask, `100 mean_i 1[e_i > o_i]`; higher is better.

    Args:
        original: [n] in [0,1], `o`.
        masked: [n] in [0,1], `e`.

    Returns:
        Per cent in [0,100]; equal probabilities do not count.

    Raises:
        ValueError: shapes that do not agree.
        UserError: values outside [0,1] or none.

    Example:
        >>> average_increase([0.75, 0.5], [0.75, 0.51])
        50.0

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018.
    Departures: none.
    """
    return float(100.0 * increased(original, masked).mean())


def relative_drop(original, masked) -> np.ndarray:
    """The terms of `average_drop`, `max(0, o - e) / o`: [n], [n] in [0,1] -> f64 [n] in [0,1].

    >>> relative_drop([0.5, 0.5], [0.25, 0.75]).tolist()
    [0.5, 0.0]
    """
    o, e = _probabilities("relative_drop", original, masked)
    return _ratio(np.maximum(o - e, 0.0), o)


def relative_gain(original, masked) -> np.ndarray:
    """The terms of `average_gain`, `max(0, e - o) / (1 - o)`: [n], [n] in [0,1] -> f64 [n] in [0,1].

    >>> relative_gain([0.5, 0.5], [0.25, 0.75]).tolist()
    [0.0, 0.5]
    """
    o, e = _probabilities("relative_gain", original, masked)
    return _ratio(np.maximum(e - o, 0.0), 1.0 - o)


def increased(original, masked) -> np.ndarray:
    """The terms of `average_increase`, `e > o`: [n], [n] in [0,1] -> bool [n].

    >>> increased([0.5, 0.5], [0.5, 0.75]).tolist()
    [False, True]
    """
    o, e = _probabilities("increased", original, masked)
    return e > o


def curve_area(scores) -> np.ndarray:
    """Area under each curve over the unit interval by trapezoids, `(sum_t s_t - s_0 / 2 - s_T / 2) / T`.

    Args:
        scores: [n,T+1] at T + 1 >= 2 evenly spaced shares of changed pixels, both ends included.

    Returns:
        f64 [n], in the unit of the scores.

    Raises:
        ValueError: not two axes.
        UserError: fewer than 2 scores a curve.

    Example:
        >>> curve_area([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]]).tolist()
        [0.5, 1.0]

    Source: Petsiuk, Das and Saenko, RISE: randomized input sampling for explanation of black-box models, BMVC
    2018, and its code.
    Departures: none.
    """
    check_shapes("curve_area", scores=(scores, "n T"))
    scores = np.asarray(scores, np.float64)
    if scores.shape[1] < 2:
        raise UserError(f"found {scores.shape[1]} scores a curve; expected at least 2")
    return (scores.sum(axis=1) - (scores[:, 0] + scores[:, -1]) / 2) / (scores.shape[1] - 1)


def insertion_deletion(insertion, deletion) -> InsertionDeletion:
    """Areas under the insertion and the deletion curve of each image, `curve_area` of both.

    Deletion: the whole image first, then its most salient pixels replaced (by zero in RISE), more at every
    step. Insertion: the blurred image first, then its most salient pixels restored.

    Args:
        insertion: [n,T+1], the target's score after each step, before any first.
        deletion: [n,T+1].

    Returns:
        `InsertionDeletion` of n images.

    Raises:
        ValueError: shapes that do not agree.
        UserError: fewer than 2 scores a curve.

    Example:
        >>> insertion_deletion([[0.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]]).difference.tolist()
        [0.5]

    Source: Petsiuk, Das and Saenko, RISE, BMVC 2018.
    Departures: none.
    """
    check_shapes("insertion_deletion", insertion=(insertion, "n T"), deletion=(deletion, "n T"))
    return InsertionDeletion(curve_area(insertion), curve_area(deletion))


def pointing_game(maps, mask, tolerance: float = 0.0, ignored=None) -> np.ndarray:
    """Does the strongest pixel lie on the object, or within `tolerance` pixels of it?

    `hit_i = 1[min over pixels q of the mask |argmax M_i - q|_2 <= tolerance]`; the mean is the accuracy.

    Args:
        maps: [n,H,W] finite.
        mask: bool [n,H,W], the object (or its filled box).
        tolerance: in pixels of the maps; 15 in the source, on images of about 300 to 500, for the boxes of VOC and
            COCO. Of an image of 224 pixels that is half a cell of a 7x7 grid: give 0 where objects are small or their
            masks exact.
        ignored: bool [n,H,W], pixels of which nobody knows whether they are the object; the strongest is sought among
            the others, and none of these is part of the mask. None: every pixel counts.

    Returns:
        f64 [n], 1 or 0, and between them where some of several strongest pixels hit: values within 1e-6 of the
        greatest are as strong. 0 where the mask is empty or nothing counts. Chance, and the score of a flat map, is
        the area of the (widened) mask.

    Raises:
        ValueError: shapes that do not agree.
        UserError: maps that are not finite.

    Example:
        >>> maps, mask = [[[0.0, 0.0, 1.0]]], [[[True, False, False]]]
        >>> pointing_game(maps, mask).tolist(), pointing_game(maps, mask, tolerance=2).tolist()
        ([0.0], [1.0])
        >>> pointing_game([[[2.0, 2.0, 0.0, 5.0]]], [[[True, False, False, False]]], ignored=[[[0, 0, 0, 1]]]).tolist()
        [0.5]

    Source: Zhang et al., Top-down neural attention by excitation backprop, IJCV 2018.
    Departures: accuracy over images, not over classes first. One of several strongest pixels is not picked by its
    place, which would favour what lies at the top: masks, such as those of clusters, have many.
    """
    _, maps, mask = _maps_and_mask("pointing_game", maps, mask)
    counted = _counted("pointing_game", mask, ignored)
    strength = np.where(counted, maps, -np.inf)
    greatest = strength.max(axis=(1, 2), keepdims=True)
    strongest = counted & (strength >= greatest - TIE * np.where(np.isfinite(greatest), np.abs(greatest), 0.0))
    near = np.stack([_widened(one, tolerance) for one in mask & counted]) if len(mask) else mask
    return _ratio((strongest & near).sum(axis=(1, 2)).astype(np.float64), strongest.sum(axis=(1, 2)))


def _widened(mask: np.ndarray, tolerance: float) -> np.ndarray:
    """A mask bool [H,W] with all pixels no further from it than that."""
    return distance_transform_edt(~mask) <= tolerance if tolerance and mask.any() else mask


def energy_inside(maps, mask, ignored=None) -> np.ndarray:
    """Share of a map's mass on the object, `sum_{q in mask} M_q^+ / sum_q M_q^+`, negative values taken as 0.

    Args:
        maps: [n,H,W] finite.
        mask: bool [n,H,W].
        ignored: bool [n,H,W], pixels that are left out of both sums; None: none.

    Returns:
        f64 [n] in [0,1]; 0 for a map without positive values. A constant map scores the object's area.

    Raises:
        ValueError: shapes that do not agree.
        UserError: maps that are not finite.

    Example:
        >>> energy_inside([[[3.0, 1.0, -5.0]]], [[[True, False, True]]]).tolist()
        [0.75]

    Source: Wang et al., Score-CAM, CVPR workshops 2020 (energy-based pointing game).
    Departures: negative values are clipped, for maps that have them.
    """
    _, maps, mask = _maps_and_mask("energy_inside", maps, mask)
    positive = np.where(_counted("energy_inside", mask, ignored), np.maximum(maps, 0.0), 0.0)
    return _ratio((positive * mask).sum(axis=(1, 2)), positive.sum(axis=(1, 2)))


def threshold_iou(maps, mask, thresholds, ignored=None) -> np.ndarray:
    """Overlap of the object with the map cut at shares of its maximum, `IoU({q: M_q >= t max M}, mask)`.

    Args:
        maps: [n,H,W] finite.
        mask: bool [n,H,W], the object or its filled box.
        thresholds: [T] in (0,1]. Choose one on other images than those it is reported on: 0.5 is half of the maximum.
        ignored: bool [n,H,W], pixels that are neither in the intersection nor in the union, nor the maximum; None:
            none.

    Returns:
        f64 [n,T] in [0,1]; 0 for a map without positive values. A constant map scores the object's area.

    Raises:
        ValueError: shapes that do not agree.
        UserError: maps that are not finite, or a threshold outside (0,1].

    Example:
        >>> threshold_iou([[[4.0, 3.0, 1.0, -1.0]]], [[[1, 0, 1, 0]]], [0.5, 0.25]).round(3).tolist()
        [[0.333, 0.667]]

    Source: Zhou et al., Learning deep features for discriminative localization, CVPR 2016, section 3.2 (20 % of the
    maximum); Choe et al., Evaluating weakly supervised object localization methods right, CVPR 2020, who have it
    chosen on other images.
    Departures: all regions above the threshold count, not the box of the largest.
    """
    _, maps, mask = _maps_and_mask("threshold_iou", maps, mask)
    thresholds = np.asarray(thresholds, np.float64)
    if not ((thresholds > 0) & (thresholds <= 1)).all():
        raise UserError(f"found thresholds {thresholds.tolist()}; expected shares of the maximum in (0, 1]")
    counted = _counted("threshold_iou", mask, ignored)
    positive = np.where(counted, np.maximum(maps, 0.0), 0.0)
    greatest = positive.max(axis=(1, 2), keepdims=True)
    seen = [mask_iou((positive >= t * greatest) & (greatest > 0), mask, ignored) for t in thresholds]
    return np.stack(seen, axis=1)


def mask_iou(found, mask, ignored=None) -> np.ndarray:
    """Overlap of two masks of each image, `|found and mask| / |found or mask|`.

    Args:
        found: bool [n,H,W].
        mask: bool [n,H,W].
        ignored: bool [n,H,W], pixels that are in neither number; None: none.

    Returns:
        f64 [n] in [0,1]; 0 where both are empty.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> mask_iou([[[1, 1, 0, 1]]], [[[0, 1, 1, 1]]], ignored=[[[0, 0, 0, 1]]]).round(3).tolist()
        [0.333]

    Source: Everingham et al., The PASCAL visual object classes challenge, IJCV 2010, section 4.4, of each image.
    Departures: none.
    """
    check_shapes("mask_iou", found=(found, "n H W"), mask=(mask, "n H W"))
    found, mask = np.asarray(found, bool), np.asarray(mask, bool)
    counted = _counted("mask_iou", mask, ignored)
    both, either = (found & mask & counted).sum(axis=(1, 2)), ((found | mask) & counted).sum(axis=(1, 2))
    return _ratio(both.astype(np.float64), either)


def mask_relevance(maps, mask, share: float) -> np.ndarray:
    """Share of the strongest pixels that lie on the object, `|top_a(M) and mask| / |top_a(M)|`.

    Args:
        maps: [n,H,W] finite.
        mask: bool [n,H,W].
        share: `a` in (0,1], the part of the image's area that is kept (`top_area_mask`).

    Returns:
        f64 [n] in [0,1]; chance is the object's area. It cannot reach 1 where the object is smaller than `a`.

    Raises:
        ValueError: shapes that do not agree.
        UserError: maps that are not finite, or a share outside (0,1].

    Example:
        >>> mask_relevance([[[4.0, 3.0], [2.0, 1.0]]], [[[True, False], [True, True]]], share=0.5).tolist()
        [0.5]

    Source: Xu-Darme et al., Sanity checks for patch visualisation in prototype-based image classification,
    CVPR workshops 2023.
    Departures: exactly the same number of pixels in every image, ties in reading order.
    """
    _, maps, mask = _maps_and_mask("mask_relevance", maps, mask)
    top = top_area_mask(maps, share)
    return (top & mask).sum(axis=(1, 2)) / top.sum(axis=(1, 2))


def top_area_mask(maps, share: float) -> np.ndarray:
    """The strongest pixels, exactly `max(1, floor(share H W + 1/2))` of each map, as bool [n,H,W].

    >>> top_area_mask([[[1.0, 5.0], [5.0, 5.0]]], 0.5).tolist()
    [[[False, True], [True, False]]]
    """
    if not 0 < share <= 1:
        raise UserError(f"found share {share}; expected one in (0, 1]")
    maps = _finite_maps("top_area_mask", maps)
    area = max(1, int(share * maps[0].size + 0.5)) if len(maps) else 0
    return _strongest(maps, np.full(len(maps), area))


def at_matched_area(maps, masks) -> np.ndarray:
    """The strongest pixels of each map, as many as the other method's mask has in that image, as bool [n,H,W].

    Two methods' masks are comparable only at equal area: average drop, insertion, deletion and overlap with
    the object all change with it.

    >>> at_matched_area([[[1.0, 3.0], [2.0, 0.0]]], [[[True, False], [False, True]]]).tolist()
    [[[False, True], [True, False]]]
    """
    _, maps, masks = _maps_and_mask("at_matched_area", maps, masks)
    return _strongest(maps, masks.sum(axis=(1, 2)))


def _strongest(maps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The `counts[i]` largest pixels of map i; the stable sort takes equal ones in reading order."""
    flat = maps.reshape(len(maps), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    chosen = np.zeros(flat.shape, bool)
    np.put_along_axis(chosen, order, np.arange(flat.shape[1]) < counts[:, None], axis=1)
    return chosen.reshape(maps.shape)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`, 0 where `below` is 0 (and `above` with it)."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _probabilities(function: str, original, masked) -> tuple[np.ndarray, np.ndarray]:
    check_shapes(function, original=(original, "n"), masked=(masked, "n"))
    both = np.asarray(original, np.float64), np.asarray(masked, np.float64)
    if not both[0].size or not all(((values >= 0) & (values <= 1)).all() for values in both):
        raise UserError(f"{function}: found no probabilities, or some outside [0, 1]; expected softmax outputs")
    return both


def _finite_maps(function: str, maps) -> np.ndarray:
    check_shapes(function, maps=(maps, "n H W"))
    maps = np.asarray(maps, np.float64)
    if not np.isfinite(maps).all():
        raise UserError(f"{function}: found maps with values that are not finite; expected none")
    return maps


def _maps_and_mask(function: str, maps, mask) -> tuple[dict[str, int], np.ndarray, np.ndarray]:
    sizes = check_shapes(function, maps=(maps, "n H W"), mask=(mask, "n H W"))
    return sizes, _finite_maps(function, maps), np.asarray(mask, bool)


def _counted(function: str, mask: np.ndarray, ignored) -> np.ndarray:
    """bool [n,H,W]: the pixels that are not ignored."""
    check_shapes(function, mask=(mask, "n H W"), ignored=(ignored, "n H W"))
    return np.ones(mask.shape, bool) if ignored is None else ~np.asarray(ignored, bool)
