"""OpenMax: logits of known classes -> probabilities of these and of none of them, from how far off an image is."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import brentq

from partrep import UserError

LEAST_SHAPE, MOST_SHAPE = 1e-3, 1e4  # of a Weibull distribution; a tail of equal distances has an endless one
LEAST_DISTANCE = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class OpenMax:
    """How far from its mean activation each known class reaches.

    Attributes:
        means: f64 [K,K], `mu_c`, the mean logits of the training images of class c that are classified right.
        shapes, scales: f64 [K], of the Weibull distribution of the largest distances of those images from `mu_c`.
    """

    means: np.ndarray
    shapes: np.ndarray
    scales: np.ndarray

    def outlyingness(self, logits: np.ndarray) -> np.ndarray:
        """f64 [n,K]: the chance that an image of the class would be nearer, `F_c(|x - mu_c|)`."""
        distances = np.linalg.norm(np.asarray(logits, np.float64)[:, None] - self.means, axis=-1)
        with np.errstate(over="ignore"):  # infinitely far off: certainly outlying
            return -np.expm1(-((distances / self.scales) ** self.shapes))

    def probabilities(self, logits: np.ndarray, alpha: int = 3) -> np.ndarray:
        """Probabilities of the K known classes and, last, of none of them.

            w_c = 1 - (alpha - r_c) / alpha F_c(|x - mu_c|)  for the alpha largest logits, of rank r_c = 0, 1, ...
            p = softmax(w_1 x_1, ..., w_K x_K, sum_c (1 - w_c) x_c)

        Args:
            logits: [n,K], `x`.
            alpha: how many of the largest logits are taken back, from 1; with more than K, K are.

        Returns:
            f64 [n,K+1]; rows sum to one, and the last column is what an image is rejected by.

        Raises:
            UserError: logits of another number of classes, alpha under 1.

        Example:
            >>> model = OpenMax(np.array([[4.0, 0.0], [0.0, 4.0]]), np.ones(2), np.ones(2))
            >>> model.probabilities(np.array([[4.0, 0.0], [9.0, 9.0]]), alpha=1).round(2).tolist()
            [[0.96, 0.02, 0.02], [0.0, 0.5, 0.5]]

        Source: Bendale and Boult, Towards Open Set Deep Networks (CVPR 2016), algorithm 2.
        Departures: none for logits below 0, which the weights raise in place of lowering them: there it says little.
        `F` where the paper prints `1 - F` in the weights, as in its released code.
        """
        logits = np.asarray(logits, np.float64)
        classes = len(self.means)
        if logits.ndim != 2 or logits.shape[1] != classes:
            raise UserError(f"OpenMax of {classes} classes on logits of shape {logits.shape}; expected [n,{classes}]")
        if alpha < 1:
            raise UserError(f"OpenMax with alpha {alpha}; expected at least 1")
        alpha = min(alpha, classes)
        ranks = np.argsort(np.argsort(-logits, axis=1, kind="stable"), axis=1)
        kept = 1.0 - np.maximum(alpha - ranks, 0) / alpha * self.outlyingness(logits)
        revised = np.concatenate([logits * kept, (logits * (1.0 - kept)).sum(1, keepdims=True)], axis=1)
        raised = np.exp(revised - revised.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)


def fit(logits: np.ndarray, labels: np.ndarray, tail: int = 20) -> OpenMax:
    """Means and tails of the known classes from training images alone.

    Args:
        logits: [n,K] of training images.
        labels: int [n] in 0..K-1.
        tail: how many of the largest distances of each class its Weibull distribution is fitted to, from 2.

    Returns:
        `OpenMax`.

    Raises:
        UserError: shapes that differ, a tail under 2, a class with fewer than two images.

    Source: Bendale and Boult (2016), algorithm 1, Euclidean distance; tail 20.
    Departures: the maximum likelihood of the two-parameter distribution of the distances themselves; the source
    (libmr) first moves the tail's smallest distance to 1. Where all distances of a tail are equal the shape is
    10,000. Of a class of which fewer than two images are classified right, all images count.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise UserError(f"OpenMax: logits {logits.shape} with labels {labels.shape}; expected [n,K] and [n]")
    if tail < 2:
        raise UserError(f"OpenMax with a tail of {tail}; expected at least 2 distances")
    right = logits.argmax(1) == labels
    means, shapes, scales = [], [], []
    for c in range(logits.shape[1]):
        own = logits[right & (labels == c)]
        own = own if len(own) > 1 else logits[labels == c]
        if len(own) < 2:
            raise UserError(f"OpenMax: {len(own)} training images of class {c}; expected two at least")
        means.append(own.mean(0))
        shape, scale = weibull_fit(np.sort(np.linalg.norm(own - means[-1], axis=1))[-tail:])
        shapes.append(shape)
        scales.append(scale)
    return OpenMax(np.stack(means), np.array(shapes), np.array(scales))


def weibull_fit(values: np.ndarray) -> tuple[float, float]:
    """The maximum-likelihood shape `k` and scale `l` of a Weibull distribution, `F(x) = 1 - exp(-(x / l)^k)`.

        1 / k = sum_i x_i^k log x_i / sum_i x_i^k - mean_i log x_i,    l = (mean_i x_i^k)^(1/k)

    Args:
        values: [n] >= 0; those under 1e-12 count as that.

    Returns:
        Shape and scale.

    Example:
        >>> shape, scale = weibull_fit(np.array([1.0, 2.0, 3.0]))
        >>> round(shape, 3), round(scale, 3)
        (2.739, 2.259)

    Source: textbook.
    Departures: shapes stay in [0.001, 10,000].
    """
    values = np.maximum(np.asarray(values, np.float64), LEAST_DISTANCE)
    largest = values.max()
    logs = np.log(values / largest)  # powers of these cannot overflow

    def slope(log_shape: float) -> float:
        shape = np.exp(log_shape)
        powers = np.exp(shape * logs)
        return float((powers * logs).sum() / powers.sum() - logs.mean() - 1.0 / shape)

    low, high = np.log(LEAST_SHAPE), np.log(MOST_SHAPE)
    if slope(high) <= 0:
        shape = MOST_SHAPE
    elif slope(low) >= 0:
        shape = LEAST_SHAPE
    else:
        shape = float(np.exp(brentq(slope, low, high, xtol=1e-12)))
    return shape, float(largest * np.exp(np.log(np.mean(np.exp(shape * logs))) / shape))
