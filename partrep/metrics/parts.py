"""What a set of parts is like, without any truth: how sharp, how large, how often, how much alike.

None of these says that parts are good: one part that covers everything is certain, always there and never
repeated. They tell collapse and redundancy, beside a score that needs truth.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv

from partrep import UserError
from partrep.shapes import check_shapes

DUPLICATE_FROM = 0.9
"""Cosine above which two parts are called duplicates."""


def assignment_entropy(assignment) -> np.ndarray:
    """How undecided the assignment of places to parts is, `mean_n (-sum_s a_sn log a_sn) / log S`.

    Args:
        assignment: [n,S,h,w] >= 0 that sums to one over its S >= 2 parts, the background among them.

    Returns:
        f64 [n] in [0,1]: 0 where every place has one part, 1 where all are equal.

    Raises:
        ValueError: not four axes.
        UserError: S below 2, or sums that differ from one by more than 0.01.

    Example:
        >>> assignment_entropy([[[[0.5, 1.0]], [[0.5, 0.0]]]]).tolist()
        [0.5]

    Source: Shannon, 1948, divided by its largest value.
    Departures: none.
    """
    check_shapes("assignment_entropy", assignment=(assignment, "n S h w"))
    share = np.asarray(assignment, np.float64)
    off = np.abs(share.sum(axis=1) - 1.0).max(initial=0.0)
    if share.shape[1] < 2 or not off <= 0.01 or (share < 0).any():
        raise UserError(
            f"found {share.shape[1]} parts whose shares miss a sum of 1 by {off:.3g}, or negative ones; expected "
            "2 parts or more, background included, that sum to 1"
        )
    surprise = -share * np.log(np.where(share > 0, share, 1.0))
    return surprise.sum(axis=1).mean(axis=(1, 2)) / np.log(share.shape[1])


def occurrence_histogram(presence, bins: int = 10) -> np.ndarray:
    """How often each part is there how much: share of the images by presence, in equal widths of [0,1].

    Args:
        presence: [n,K] in [0,1].
        bins: number of widths; the last includes 1.

    Returns:
        f64 [K,bins], rows sum to one.

    Raises:
        ValueError: not two axes.
        UserError: presences outside [0,1] or none.

    Example:
        >>> occurrence_histogram([[0.0, 1.0], [0.9, 1.0]], bins=2).tolist()
        [[0.5, 0.5], [0.0, 1.0]]

    Source: Huang and Li, Interpretable and accurate fine-grained recognition via region grouping, CVPR 2020.
    Departures: none.
    """
    presence = _presence("occurrence_histogram", presence)
    bin_of = np.minimum((presence * bins).astype(np.int64), bins - 1)
    return (bin_of[:, :, None] == np.arange(bins)).mean(axis=0)


def occurrence_distance(presence, alpha: float, beta: float) -> np.ndarray:
    """Earth mover's distance of each part's presences from a Beta prior, `mean_i |t_(i)k - F^-1((2i-1) / 2n)|`.

    `t_(i)k` is the i-th smallest of the n presences of part k, `F` the distribution of Beta(alpha, beta).

    Args:
        presence: [n,K] in [0,1].
        alpha: of the prior, positive.
        beta: of the prior, positive.

    Returns:
        f64 [K] in [0,1].

    Raises:
        ValueError: not two axes.
        UserError: presences outside [0,1] or none, or a prior that is not positive.

    Example:
        >>> occurrence_distance([[0.25, 1.0], [0.75, 1.0]], 1.0, 1.0).tolist()  # a uniform prior
        [0.0, 0.5]

    Source: Huang and Li, CVPR 2020.
    Departures: on the presences themselves, not on their logarithms, so that it is in their unit.
    """
    presence = _presence("occurrence_distance", presence)
    if min(alpha, beta) <= 0:
        raise UserError(f"found the prior Beta({alpha}, {beta}); expected positive numbers")
    count = len(presence)
    quantiles = betaincinv(alpha, beta, (2 * np.arange(1, count + 1) - 1) / (2 * count))
    return np.abs(np.sort(presence, axis=0) - quantiles[:, None]).mean(axis=0)


def part_area(assignment) -> np.ndarray:
    """Share of the image that each part takes, `mean_n a_kn`.

    Args:
        assignment: [n,K,h,w] in [0,1].

    Returns:
        f64 [n,K] in [0,1].

    Raises:
        ValueError: not four axes.

    Example:
        >>> part_area([[[[0.5, 1.0]], [[0.5, 0.0]]]]).tolist()
        [[0.75, 0.25]]

    Source: textbook.
    Departures: none.
    """
    check_shapes("part_area", assignment=(assignment, "n K h w"))
    return np.asarray(assignment, np.float64).mean(axis=(2, 3))


def part_iou(assignment) -> np.ndarray:
    """Do parts lie on each other: `mean over pairs k < j of sum_n min(a_kn, a_jn) / sum_n max(a_kn, a_jn)`.

    Of masks it is the intersection over union.

    Args:
        assignment: [n,K,h,w] >= 0, K >= 2, without the background.

    Returns:
        f64 [n] in [0,1]; a pair of empty parts counts 0.

    Raises:
        ValueError: not four axes.
        UserError: K below 2.

    Example:
        >>> part_iou([[[[1, 1, 0]], [[0, 1, 1]]]]).round(4).tolist()
        [0.3333]

    Source: the Jaccard index, and its extension to weights by Ruzicka, 1958.
    Departures: none.
    """
    sizes = check_shapes("part_iou", assignment=(assignment, "n K h w"))
    if sizes["K"] < 2:
        raise UserError(f"found {sizes['K']} parts; expected at least 2")
    flat = np.asarray(assignment, np.float64).reshape(sizes["n"], sizes["K"], -1)
    mass, total = flat.sum(axis=2), np.zeros(sizes["n"])
    for k in range(sizes["K"] - 1):  # all pairs at once would hold K^2 maps of each image
        shared = np.minimum(flat[:, k : k + 1], flat[:, k + 1 :]).sum(axis=2)
        union = mass[:, k : k + 1] + mass[:, k + 1 :] - shared
        total += np.divide(shared, union, out=np.zeros_like(shared), where=union > 0).sum(axis=1)
    return total / (sizes["K"] * (sizes["K"] - 1) / 2)


def duplicate_parts(vectors, threshold: float = DUPLICATE_FROM) -> float:
    """Share of the parts that have a double, `mean_k 1[max_{j != k} cos(v_k, v_j) > 0.9]`.

    Args:
        vectors: [K,D], the parts' queries or the means of their vectors, not the vectors of one image.
        threshold: of the cosine.

    Returns:
        In [0,1]; a vector of zeros is no double. Vectors with a large common mean are all alike: subtract it
        first where that is not meant.

    Raises:
        ValueError: not two axes.

    Example:
        >>> duplicate_parts([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.0, -1.0]])
        0.5

    Source: a common check of collapsed prototypes.
    Departures: none.
    """
    check_shapes("duplicate_parts", vectors=(vectors, "K D"))
    vectors = np.asarray(vectors, np.float64)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norm > 0, norm, 1.0)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1.0)
    return float((cosine.max(axis=1) > threshold).mean())


def _presence(function: str, presence) -> np.ndarray:
    check_shapes(function, presence=(presence, "n K"))
    presence = np.asarray(presence, np.float64)
    if not presence.size or not ((presence >= 0) & (presence <= 1)).all():
        raise UserError(f"{function}: found no presences, or some outside [0, 1]; expected shares")
    return presence
