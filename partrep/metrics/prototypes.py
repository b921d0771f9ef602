"""Do prototypes mean object parts: consistency, stability and purity, from the keypoints they hit.

Axes: n images, P prototypes, K true parts (keypoints). A prototype hits a keypoint of an image where the box
around its strongest place contains it (`hits`). Which images speak for a prototype is a bool [n,P], for
class-tied prototypes `own_class`. All three reward triviality (large boxes, central prototypes): report random
places and the centre of the object beside them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.shapes import check_shapes

PART_RELATED = 0.5
"""Purity above which a prototype is called related to a part."""


class Consistency(NamedTuple):
    """Of each prototype: its best rate of hits, whether that is enough, whether it hit at all, has images."""

    rate: np.ndarray
    """[P], `max_k a_pk` in [0,1]"""
    consistent: np.ndarray
    """bool [P]"""
    hit: np.ndarray
    """bool [P]"""
    scored: np.ndarray
    """bool [P], prototypes with at least one image"""

    @property
    def percent(self) -> float:
        """Share of consistent prototypes among those with images, in per cent; never hit is not consistent."""
        return 100.0 * float(self.consistent[self.scored].mean())

    @property
    def never_hit(self) -> float:
        """Share of the prototypes with images that hit no keypoint in any."""
        return 1.0 - float(self.hit[self.scored].mean())


class Stability(NamedTuple):
    """Of each prototype: the share of images whose hits noise leaves alone, and whether it hit at all."""

    rate: np.ndarray
    """[P] in [0,1], over all images of the prototype"""
    rate_where_hit: np.ndarray
    """[P] in [0,1], over the images with a hit before or after; not a number where there are none"""
    hit: np.ndarray
    """bool [P], a hit in some image, before or after"""
    scored: np.ndarray
    """bool [P], prototypes with at least one image"""

    @property
    def percent(self) -> float:
        """Mean rate of the prototypes that hit, in per cent; not a number where none did."""
        return 100.0 * float(self.rate[self.hit].mean()) if self.hit.any() else float("nan")

    @property
    def percent_where_hit(self) -> float:
        """The same of `rate_where_hit`: an image without a hit before and after is no sign of stability."""
        return 100.0 * float(self.rate_where_hit[self.hit].mean()) if self.hit.any() else float("nan")

    @property
    def never_hit(self) -> float:
        """Share of the prototypes with images that hit no keypoint in any: those that `percent` leaves out."""
        return 1.0 - float(self.hit[self.scored].mean())


class Purity(NamedTuple):
    """Purity of each prototype in [0,1] and the part it is purest for."""

    purity: np.ndarray
    """[P]"""
    part: np.ndarray
    """int [P]; the first of equal ones"""

    @property
    def mean(self) -> float:
        """Mean over prototypes."""
        return float(self.purity.mean())

    @property
    def std(self) -> float:
        """Standard deviation over prototypes (dividing by P), as the paper prints it."""
        return float(self.purity.std())

    @property
    def part_related(self) -> int:
        """Number of prototypes of purity above 0.5."""
        return int((self.purity > PART_RELATED).sum())


def hits(places, keypoints, visible, half_side: float) -> np.ndarray:
    """Which keypoints lie in the box around each prototype's place, `max(|y - y_k|, |x - x_k|) <= half_side`.

    Args:
        places: [n,P,2] (y, x), the strongest place of each prototype, in [0,1] over the image.
        keypoints: [n,K,2] (y, x), any value where not visible.
        visible: bool [n,K].
        half_side: half the side of the box as a share of the image side. EvalProtoPNet takes 36 of 224 pixels
            on images cropped to the object, PIP-Net 16 of 224 on whole images.

    Returns:
        bool [n,P,K], edges included; False where the keypoint is not visible.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> hits([[[0.5, 0.5]]], [[[0.5, 0.6], [0.7, 0.5]]], [[True, True]], 0.125).tolist()
        [[[True, False]]]

    Source: Huang et al., Evaluation and improvement of interpretability for self-explainable part-prototype
    networks (EvalProtoPNet), ICCV 2023, and its evaluation code.
    Departures: coordinates are not rounded to pixels.
    """
    check_shapes("hits", places=(places, "n P 2"), keypoints=(keypoints, "n K 2"), visible=(visible, "n K"))
    places = np.asarray(places, np.float64)
    keypoints = np.where(np.asarray(visible, bool)[..., None], np.asarray(keypoints, np.float64), np.inf)
    # One part after another: all offsets of 2,000 prototypes at once would fill gigabytes.
    inside = [(np.abs(places - part[:, None]) <= half_side).all(axis=-1) for part in keypoints.swapaxes(0, 1)]
    return np.stack(inside, axis=-1)


def own_class(labels, prototype_labels) -> np.ndarray:
    """Bool [n,P]: the images of each prototype's own class.

    >>> own_class([0, 1], [1, 1, 0]).tolist()
    [[False, False, True], [True, True, False]]
    """
    return np.asarray(labels)[:, None] == np.asarray(prototype_labels)[None]


def merge_parts(hit, visible, groups) -> tuple[np.ndarray, np.ndarray]:
    """Hits and visibility of merged parts (left and right of one kind): any hit, any visible.

    `groups` [K] gives each part its merged part, 0, 1, ...

    >>> hit, visible = merge_parts([[[True, False, False]]], [[True, True, False]], [0, 0, 1])
    >>> hit.tolist(), visible.tolist()
    ([[[True, False]]], [[True, False]])
    """
    check_shapes("merge_parts", hit=(hit, "n P K"), visible=(visible, "n K"), groups=(groups, "K"))
    groups = np.asarray(groups)
    member = groups[:, None] == np.arange(groups.max() + 1)
    return (np.asarray(hit, bool) @ member), (np.asarray(visible, bool) @ member)


def consistency(hit, visible, images=None, threshold: float = 0.8, least: int = 1) -> Consistency:
    """Does a prototype hit the same part in most images: per cent of prototypes with `max_k a_pk >= 0.8`.

    `a_pk = sum_x o_pk(x) / sum_x u_k(x)`, over the images x of prototype p; `o` is a hit, `u` visible. The
    denominator is the number of images where the part is visible, not of all images.

    Args:
        hit: bool [n,P,K] of `hits`.
        visible: bool [n,K].
        images: bool [n,P], the images that speak for each prototype (`own_class`); None takes all.
        threshold: rate from which a prototype is consistent.
        least: a part counts for a prototype only where it is visible in this many of its images. With 1, as
            published, a rarely visible part can give a rate of 1 from one image.

    Returns:
        `Consistency`. A prototype that never hits is not consistent, as published; its share is
        `never_hit`. Leaving it out would reward prototypes on the background. One without images is left out.

    Raises:
        ValueError: shapes that do not agree.
        UserError: no prototype with images.

    Example:
        >>> hit = [[[True, False], [False, False]], [[True, False], [False, False]]]
        >>> score = consistency(hit, [[True, True], [True, True]])
        >>> score.percent, score.never_hit
        (50.0, 0.5)

    Source: Huang et al., EvalProtoPNet, ICCV 2023, and its evaluation code.
    Departures: `least`; a class without images is left out where the released code counts it 0.
    """
    sizes = check_shapes("consistency", hit=(hit, "n P K"), visible=(visible, "n K"), images=(images, "n P"))
    visible, images = np.asarray(visible, bool), _images(images, sizes)
    hit = np.asarray(hit, bool) & visible[:, None] & images[..., None]
    seen = images.T.astype(np.float64) @ visible
    rate = np.where(seen >= max(least, 1), hit.sum(axis=0) / np.maximum(seen, 1), 0.0).max(axis=1)
    return Consistency(rate, rate >= threshold, hit.any(axis=(0, 2)), images.any(axis=0))


def stability(hit, hit_noisy, images=None) -> Stability:
    """Do hits survive noise: per cent of images with `o_p(x) = o_p(x + noise)` for all K parts, mean over p.

    The rate of a prototype divides by the number of its images. Published noise: Gaussian of 0.2, clipped to
    0.25, on the normalised image.

    Args:
        hit: bool [n,P,K] of `hits` on the images.
        hit_noisy: bool [n,P,K] on the images with noise.
        images: bool [n,P], the images that speak for each prototype (`own_class`); None takes all.

    Returns:
        `Stability`.

    Raises:
        ValueError: shapes that do not agree.
        UserError: no prototype with images.

    Example:
        >>> hit = [[[True], [False]], [[True], [False]]]  # the second prototype hits nothing
        >>> noisy = [[[True], [False]], [[False], [False]]]
        >>> score = stability(hit, noisy)
        >>> score.percent, score.never_hit, 100 * float(score.rate.mean())
        (50.0, 0.5, 75.0)

    Source: Huang et al., EvalProtoPNet, ICCV 2023, and its evaluation code.
    Departures: the released code counts a prototype that hits nothing before and after, for example one on the
    background, as perfectly stable; `percent` leaves it out and `never_hit` tells how many there are. The
    published number is `100 * rate[scored].mean()`.
    """
    sizes = check_shapes("stability", hit=(hit, "n P K"), hit_noisy=(hit_noisy, "n P K"), images=(images, "n P"))
    hit, noisy, images = np.asarray(hit, bool), np.asarray(hit_noisy, bool), _images(images, sizes)
    same = (hit == noisy).all(axis=2)
    counted = images & (hit | noisy).any(axis=2)
    return Stability(_rate(same, images), _rate(same, counted), counted.any(axis=0), images.any(axis=0))


def purity(hit, visible, scores, top: int = 10, least: int = 1) -> Purity:
    """Do the strongest patches of a prototype show one part: `max_k mean(o_pk(x) | u_k(x))` over the top images.

    The images are the `top` of highest score of each prototype; the mean over them divides by the number of
    those where the part is visible.

    Args:
        hit: bool [n,P,K] of `hits`, parts of one kind merged (`merge_parts`); of the prototypes in use only.
        visible: bool [n,K].
        scores: [n,P], how strongly each prototype is found in each image.
        top: images of each prototype; all n where there are fewer. Of equal scores the first image is taken.
        least: a part counts only where it is visible in this many of them; 1 as published.

    Returns:
        `Purity`; 0 for a prototype that never hits.

    Raises:
        ValueError: shapes that do not agree.
        UserError: `top` below 1.

    Example:
        >>> hit = [[[True, False]], [[True, False]], [[False, True]]]
        >>> purity(hit, [[True, True]] * 3, [[0.9], [0.8], [0.1]], top=2).purity.tolist()
        [1.0]

    Source: Nauta et al., PIP-Net: patch-based intuitive prototypes for interpretable image classification,
    CVPR 2023, and its evaluation code (top 10, patches of 32 pixels at 224).
    Departures: `least`.
    """
    sizes = check_shapes("purity", hit=(hit, "n P K"), visible=(visible, "n K"), scores=(scores, "n P"))
    if top < 1:
        raise UserError(f"found top {top}; expected at least 1 image")
    first = np.argsort(-np.asarray(scores, np.float64), axis=0, kind="stable")[:top]
    seen = np.asarray(visible, bool)[first]
    shown = np.asarray(hit, bool)[first, np.arange(sizes["P"])] & seen
    count = seen.sum(axis=0)
    rate = np.where(count >= max(least, 1), shown.sum(axis=0) / np.maximum(count, 1), 0.0)
    return Purity(rate.max(axis=1), rate.argmax(axis=1))


def _images(images, sizes: dict[str, int]) -> np.ndarray:
    images = np.ones((sizes["n"], sizes["P"]), bool) if images is None else np.asarray(images, bool)
    if not images.any():
        raise UserError(f"found no image for any of {sizes['P']} prototypes; expected some")
    return images


def _rate(same: np.ndarray, counted: np.ndarray) -> np.ndarray:
    count = counted.sum(axis=0)
    rate = (same & counted).sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, rate, np.nan)
