"""Parts by alternation: discriminants of the assigned regions, then a matching in each image, until nothing moves.

The baseline of `partrep.parts.assigned`, which does without alternation. Where there are no labels, `image_groups`
stand in for the classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import linear_sum_assignment

from partrep import UserError
from partrep.discovery.kmeans import fit_kmeans

MOST_ROUNDS = 50
MOST_CANDIDATES = 64
RIDGE = 1e-2


class RegionStatistics(NamedTuple):
    """Mean [D] and covariance [D,D] of all regions of all images, float64, with a ridge on the covariance."""

    mean: np.ndarray
    covariance: np.ndarray


class AssignedParts(NamedTuple):
    """Parts of one class or group.

    Attributes:
        detectors: f64 [K,D], `w`.
        regions: int [n,K], the region of each image that each part was given, all different in an image.
        objectives: after each round, the first from the initial detectors; never falls.
    """

    detectors: np.ndarray
    regions: np.ndarray
    objectives: list[float]


def region_statistics(features: np.ndarray) -> RegionStatistics:
    """Of features [...,D]; the ridge is `RIDGE` times the mean variance, as in `similarity.discriminants`."""
    rows = np.asarray(features, np.float64).reshape(-1, np.shape(features)[-1])
    if not len(rows) or not np.isfinite(rows).all():
        raise UserError(f"found {len(rows)} regions, not all finite or none; expected some finite ones")
    mean = rows.mean(axis=0)
    covariance = (rows - mean).T @ (rows - mean) / len(rows)
    ridge = max(RIDGE * np.trace(covariance) / len(mean), np.finfo(np.float32).tiny)
    return RegionStatistics(mean, covariance + ridge * np.eye(len(mean)))


def match(scores: np.ndarray) -> np.ndarray:
    """The best matching of each image, int [n,K]: one region a part, no region twice, the greatest sum of scores.

    >>> match(np.array([[[1.0, 0.9, 0.0], [1.0, 0.0, 0.0]]])).tolist()
    [[1, 0]]
    """
    parts, regions = np.shape(scores)[1:]
    if parts > regions:
        raise UserError(f"found {parts} parts for {regions} regions an image; expected no more parts than regions")
    return np.array([linear_sum_assignment(image, maximize=True)[1] for image in scores])


def assigned_parts(features: np.ndarray, statistics: RegionStatistics, parts: int, seed: int = 0) -> AssignedParts:
    """Parts that each have one region in every image of a class, and set it apart from all regions.

    Alternates `w_k = S^-1 (mean_i x_i,m(i,k) - m)` with `m(i,.)` the best matching of `<w_k, x_in>` in image i,
    from `starting_means`, until nothing changes. Each round raises `sum_k |mean_i x_i,m(i,k) - m|^2` in the metric
    `S^-1`, which is convex in the means: a matching that is better for the old `w` is better.

    Args:
        features: [n,N,D], N regions of each of n images of the class, `x`.
        statistics: of the regions of all images, `m` and `S`.
        parts: K, 1 to N.
        seed: of the regions that parts may start from.

    Returns:
        `AssignedParts`.

    Raises:
        UserError: features without three axes, parts that are not 1 to N.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(6, 5, 3))
        >>> found = assigned_parts(features, region_statistics(features), parts=2)
        >>> found.detectors.shape, found.regions.shape
        ((2, 3), (6, 2))

    Source: Sicre et al. (2017, arXiv 1611.04413), alternation with the Hungarian algorithm.
    Departures: starts from regions that have a like in every image, not from selected clusters; the objective is
    written with regions less the mean of all, which changes no matching and makes its rise provable.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 3 or not 1 <= parts <= features.shape[1]:
        raise UserError(f"found {parts} parts for regions of shape {features.shape}; expected [n,N,D], parts 1 to N")
    centred = features - statistics.mean
    factor = cho_factor(statistics.covariance)
    means = starting_means(centred, factor, parts, seed)
    regions, objectives = np.full((len(features), parts), -1), []
    for _ in range(MOST_ROUNDS):
        detectors = cho_solve(factor, means.T).T
        old, regions = regions, match(detectors @ centred.transpose(0, 2, 1))
        means = np.take_along_axis(centred, regions[..., None], axis=1).mean(axis=0)
        objectives.append(float(_squared_lengths(means, factor).sum()))
        if (old == regions).all():
            break
    return AssignedParts(cho_solve(factor, means.T).T, regions, objectives)


def starting_means(centred: np.ndarray, factor: tuple[np.ndarray, bool], parts: int, seed: int) -> np.ndarray:
    """Means [K,D] of regions that have a like in every image, chosen greedily, less the mean of all.

    Each of at most `MOST_CANDIDATES` regions, drawn by seed, is used as a detector and takes the best region that is
    still free in every image; the one whose regions have the longest mean, in the metric `S^-1`, is the next part.
    K-means centres, mostly of what is common to all classes, start far worse where most regions are of no part.
    """
    images, count, depth = centred.shape
    drawn = np.random.default_rng(seed).permutation(images * count)[:MOST_CANDIDATES]
    detectors = cho_solve(factor, centred.reshape(-1, depth)[drawn].T).T
    scores = (detectors @ centred.reshape(-1, depth).T).reshape(len(drawn), images, count)
    every, means = np.arange(images), []
    for _ in range(parts):
        best = scores.argmax(axis=-1)
        of_candidates = centred[every, best].mean(axis=1)
        chosen = _squared_lengths(of_candidates, factor).argmax()
        means.append(of_candidates[chosen])
        scores[:, every, best[chosen]] = -np.inf
    return np.array(means)


def _squared_lengths(means: np.ndarray, factor: tuple[np.ndarray, bool]) -> np.ndarray:
    """`v^T S^-1 v` of each row."""
    return (means * cho_solve(factor, means.T).T).sum(axis=1)


def fit_assigned_parts(features: np.ndarray, labels: np.ndarray, parts_per_class: int, seed: int = 0) -> np.ndarray:
    """Detectors of the parts of every class or group, which are queries of `partrep.parts.similarity.dot`.

    Args:
        features: [n,...,D], the regions of n images, such as [n,h,w,D].
        labels: int [n], the class of each image, or its group (`image_groups`).
        parts_per_class: parts of each class, 1 to the number of regions of an image.
        seed: of the regions that parts may start from.

    Returns:
        f32 [K,D], K the number of different labels times `parts_per_class`, in the order of the sorted labels. The
        scores of detectors have the scale of a discriminant, not of the features.

    Raises:
        UserError: labels that are not one an image, parts out of range.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(6, 2, 2, 3))
        >>> fit_assigned_parts(features, [0, 0, 1, 1, 1, 0], parts_per_class=2).shape
        (4, 3)

    Source: see `assigned_parts`.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim < 3 or labels.shape != features.shape[:1] or not len(labels):
        found = f"features {features.shape}, labels {labels.shape}"
        raise UserError(f"found {found}; expected [n,...,D] and [n] with at least one image")
    regions = features.reshape(len(features), -1, features.shape[-1])
    statistics = region_statistics(regions)
    classes = [regions[labels == label] for label in np.unique(labels)]
    detectors = [assigned_parts(images, statistics, parts_per_class, seed).detectors for images in classes]
    return np.concatenate(detectors).astype(np.float32)


def image_groups(vectors: np.ndarray, groups: int, seed: int = 0) -> np.ndarray:
    """Groups of images that look alike, which replace classes where there are no labels: int [n] in 0..G-1.

    K-means of vectors of whole images [n,D]; each goes to the nearest of `groups` centres. Source: Sicre, Avrithis,
    Kijak, Jurie, Unsupervised part learning for visual recognition (CVPR 2017).

    >>> groups = image_groups(np.array([[0.0], [0.1], [9.0], [9.1]]), 2)
    >>> bool(groups[0] == groups[1]), bool(groups[2] == groups[3]), bool(groups[0] == groups[2])
    (True, True, False)
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise UserError(f"found image vectors of shape {vectors.shape}; expected [n,D]")
    centres = fit_kmeans(vectors, groups, seed)
    return (vectors @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
