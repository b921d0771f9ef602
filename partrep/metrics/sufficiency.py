"""How many parts a decision takes, and which it cannot do without, from exact contributions to the logits.

`logit_c = bias_c + sum_k u_kc`, where u are the contributions of the K parts (`part_contributions` of a head
that is linear in the codes). A part that is left out leaves its contribution out and nothing else: the
image is not changed, so nothing lies outside the training distribution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.shapes import check_shapes


class Sufficiency(NamedTuple):
    """Scores of 0, 1, ..., K parts kept, in [0,1]."""

    accuracy: np.ndarray
    """[K+1], share of images whose label is predicted"""
    agreement: np.ndarray
    """[K+1], share of images whose prediction is that of all parts"""


def sufficiency_curve(contributions, bias, labels) -> Sufficiency:
    """Accuracy with only the k parts that speak most for the predicted class, for k = 0..K.

    With `c*` the class predicted from all parts and `S_k` the k parts of largest `u_kc*` in that image, the
    prediction is `argmax_c bias_c + sum_{j in S_k} u_jc`: the parts are chosen for `c*`, all classes compete.

    Args:
        contributions: [n,K,C], `u`.
        bias: [C].
        labels: int [n] in [0,C).

    Returns:
        `Sufficiency`; at K it is the accuracy of the model, and agreement 1. It may be better with fewer.

    Raises:
        ValueError: shapes that do not agree.
        UserError: no images, or labels out of range.

    Example:
        >>> curve = sufficiency_curve([[[1.5, 1.0], [0.0, 2.0]]], [1.0, 0.0], [1])
        >>> curve.accuracy.tolist()  # none: class 0 by its bias; the second part alone is enough
        [0.0, 1.0, 1.0]

    Source: a curve of insertion (Petsiuk et al., RISE, BMVC 2018) over parts.
    Departures: parts in place of pixels, contributions in place of masked images.
    """
    u, bias, labels = _checked("sufficiency_curve", contributions, bias, labels)
    predicted = (bias + u.sum(axis=1)).argmax(axis=1)
    support = np.take_along_axis(u, predicted[:, None, None], axis=2)[..., 0]
    order = np.argsort(-support, axis=1, kind="stable")
    running = np.cumsum(np.take_along_axis(u, order[..., None], axis=1), axis=1)
    guess = (bias + np.concatenate([np.zeros_like(u[:, :1]), running], axis=1)).argmax(axis=2)
    # Summed in another order, equal logits may fall apart by rounding; with all parts it is the prediction.
    guess[:, -1] = predicted
    return Sufficiency((guess == labels[:, None]).mean(axis=0), (guess == predicted[:, None]).mean(axis=0))


def accuracy_without_part(contributions, bias, labels) -> np.ndarray:
    """Accuracy when one part is left out of every image, `argmax_c bias_c + sum_{j != k} u_jc`.

    Args:
        contributions: [n,K,C], `u`.
        bias: [C].
        labels: int [n] in [0,C).

    Returns:
        f64 [K] in [0,1].

    Raises:
        ValueError: shapes that do not agree.
        UserError: no images, or labels out of range.

    Example:
        >>> accuracy_without_part([[[0.0, 2.0], [1.5, 0.0]]], [1.0, 0.0], [1]).tolist()
        [0.0, 1.0]

    Source: leaving one out; Hesse et al., FunnyBirds, ICCV 2023, do it on images.
    Departures: contributions in place of images without the part.
    """
    u, bias, labels = _checked("accuracy_without_part", contributions, bias, labels)
    guess = (bias + u.sum(axis=1, keepdims=True) - u).argmax(axis=2)
    return (guess == labels[:, None]).mean(axis=0)


def _checked(function: str, contributions, bias, labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sizes = check_shapes(
        function, contributions=(contributions, "n K C"), bias=(bias, "C"), labels=(labels, "n")
    )
    labels = np.asarray(labels)
    if not sizes["n"] or labels.min() < 0 or labels.max() >= sizes["C"]:
        raise UserError(f"{function}: found no images or labels outside 0 to {sizes['C'] - 1}; expected some inside")
    return np.asarray(contributions, np.float64), np.asarray(bias, np.float64), labels
