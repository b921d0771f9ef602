"""Whether a classifier's probabilities can be taken at their word: log likelihood, Brier score, calibration error."""

from __future__ import annotations

import numpy as np

from partrep import UserError
from partrep.shapes import check_shapes

BINS = 15
"""Of the expected calibration error, as the source of it reports."""


def softmax(logits) -> np.ndarray:
    """Probabilities of logits, `exp(z_c) / sum_j exp(z_j)`: [...,C] -> f64 [...,C].

    >>> softmax([[0.0, np.log(3.0)]]).round(3).tolist()
    [[0.25, 0.75]]
    """
    return np.exp(_log_softmax(logits))


def negative_log_likelihood(logits, labels) -> float:
    """The mean surprise at the labels, `mean_i (log sum_c exp(z_ic) - z_i,label)`, in nats.

    Args:
        logits: [n,C], `z`, finite. Logits, as probabilities that are rounded to 0 have no finite logarithm.
        labels: int [n] in [0,C).

    Returns:
        0 for certainty that is always right; log C for equal probabilities.

    Raises:
        ValueError: shapes that do not agree.
        UserError: no images, labels out of range, logits that are not finite.

    Example:
        >>> round(negative_log_likelihood([[0.0, np.log(3.0)]], [1]), 4)  # a probability of 3/4
        0.2877

    Source: textbook; Guo et al., On calibration of modern neural networks, ICML 2017, equation 6.
    Departures: the mean in place of the sum.
    """
    logits, labels = _checked("negative_log_likelihood", logits, labels)
    return float(-_log_softmax(logits)[np.arange(len(labels)), labels].mean())


def brier(probabilities, labels) -> float:
    """The squared distance of probabilities from the truth, `mean_i sum_c (p_ic - [c = label_i])^2`, in [0,2].

    Args:
        probabilities: [n,C], `p`, each row with sum one.
        labels: int [n] in [0,C).

    Returns:
        0 for certainty that is always right, 2 for certainty that is always wrong, 1 - 1/C for equal probabilities.

    Raises:
        ValueError: shapes that do not agree.
        UserError: no images, labels out of range, probabilities that are not finite.

    Example:
        >>> brier([[0.25, 0.75], [0.25, 0.75]], [1, 0])
        0.625

    Source: Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 1950, equation
    2: summed over all classes. Some write half of it for two classes.
    Departures: none.
    """
    probabilities, labels = _checked("brier", probabilities, labels)
    # sum_c p_c^2 - 2 p_label + 1: no second array of the size of the first
    own = probabilities[np.arange(len(labels)), labels]
    return float((np.einsum("nc,nc->n", probabilities, probabilities) - 2 * own + 1).mean())


def expected_calibration_error(probabilities, labels, bins: int = BINS) -> float:
    """How far confidence is from accuracy, over bins of equal width: `sum_b n_b / n |accuracy_b - confidence_b|`.

    The confidence of an image is its largest probability. Bin b holds those in `(b / bins, (b + 1) / bins]`;
    `accuracy_b` and `confidence_b` are means over the `n_b` images in it, and empty bins count nothing.

    Args:
        probabilities: [n,C], each row with sum one.
        labels: int [n] in [0,C).
        bins: their number, 1 or more. More bins make the error larger where images are few.

    Returns:
        In [0,1]; 0 where in each bin as many are right as was said.

    Raises:
        ValueError: shapes that do not agree.
        UserError: no images, labels out of range, probabilities that are not finite, no bin.

    Example:
        >>> expected_calibration_error([[0.75, 0.25]] * 4, [0, 0, 1, 1])  # three in four said, two in four right
        0.25

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, equations 1 to 3.
    Departures: none.
    """
    probabilities, labels = _checked("expected_calibration_error", probabilities, labels)
    if bins < 1:
        raise UserError(f"expected_calibration_error: {bins} bins; expected at least 1")
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, right - confidence, minlength=bins)  # n_b (accuracy_b - confidence_b)
    return float(np.abs(gaps).sum() / len(labels))


def _log_softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    moved = logits - logits.max(-1, keepdims=True)
    return moved - np.log(np.exp(moved).sum(-1, keepdims=True))


def _checked(function: str, values, labels) -> tuple[np.ndarray, np.ndarray]:
    sizes = check_shapes(function, values=(values, "n C"), labels=(labels, "n"))
    values, labels = np.asarray(values, np.float64), np.asarray(labels)
    if not sizes["n"] or labels.min() < 0 or labels.max() >= sizes["C"]:
        raise UserError(f"{function}: found no images or labels outside 0 to {sizes['C'] - 1}; expected some inside")
    if not np.isfinite(values).all():
        raise UserError(f"{function}: found {int((~np.isfinite(values)).sum())} numbers not finite; expected none")
    return values, labels
