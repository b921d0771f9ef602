"""Scores of being known, read off the logits of known classes; what they are worth; and which part is unknown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from partrep.evaluate.openmax import OpenMax
from partrep.metrics.openset import aupr, auroc, fpr_at_tpr, known_threshold, macro_f1, oscr

PROBABILITY, LOGIT, ENERGY, OPENMAX = "maximum_probability", "maximum_logit", "energy", "openmax"
SCORES = (PROBABILITY, LOGIT, ENERGY, OPENMAX)
METRICS = ("auroc", "aupr_known", "aupr_unknown", "fpr95_known", "fpr95_unknown", "oscr", "macro_f1")
"""Of each score; of AUPR and FPR95 the last word is the positive class."""


def known_scores(logits: np.ndarray, model: OpenMax, alpha: int = 3) -> dict[str, np.ndarray]:
    """How well each image is known by four scores, f64 [n] each; larger is more known.

    Args:
        logits: [n,K] of the known classes.
        model: fitted on training images.
        alpha: of `OpenMax.probabilities`.

    Returns:
        `maximum_probability`, as its logarithm, which does not run into 1; `maximum_logit`; `energy`, the log of the
        sum of the raised logits; `openmax`, minus the probability of no known class.

    Example:
        >>> model = OpenMax(np.eye(2), np.ones(2), np.ones(2))
        >>> scores = known_scores(np.array([[1.0, 1.0]]), model)
        >>> {name: round(float(values[0]), 3) for name, values in scores.items() if name != OPENMAX}
        {'maximum_probability': -0.693, 'maximum_logit': 1.0, 'energy': 1.693}

    Source: Hendrycks and Gimpel (2017); Vaze et al. (2022); Liu et al. (2020); Bendale and Boult (2016).
    """
    logits = np.asarray(logits, np.float64)
    largest = logits.max(1)
    others = np.sort(np.exp(logits - largest[:, None]), axis=1)[:, :-1].sum(1)
    return {
        PROBABILITY: -np.log1p(others),
        LOGIT: largest,
        ENERGY: largest + np.log1p(others),
        OPENMAX: -model.probabilities(logits, alpha)[:, -1],
    }


def measure(
    validation: np.ndarray,
    known: tuple[np.ndarray, np.ndarray, np.ndarray],
    unknown: tuple[np.ndarray, np.ndarray],
    classes: int,
) -> dict[str, float]:
    """`{metric: value}` of one score, for each of `METRICS`.

    Args:
        validation: [v] scores of known validation images: the threshold of macro-F1 accepts 95 % of them.
        known: scores [n], answers int [n] and labels int [n] of the known test images.
        unknown: scores [m] and answers int [m] of the unknown ones.
        classes: K, of the known ones.
    """
    scores, answers, labels = known
    others, taken_for = unknown
    all_labels = np.concatenate([labels, np.full(len(others), classes)])
    all_answers, all_scores = np.concatenate([answers, taken_for]), np.concatenate([scores, others])
    return {
        "auroc": auroc(scores, others),
        **{f"aupr_{side}": aupr(scores, others, side) for side in ("known", "unknown")},
        **{f"fpr95_{side}": fpr_at_tpr(scores, others, side) for side in ("known", "unknown")},
        "oscr": oscr(scores, answers == labels, others),
        "macro_f1": macro_f1(all_answers, all_labels, all_scores, known_threshold(validation), classes),
    }


def measure_all(
    logits: Mapping[str, np.ndarray], unknown: Mapping[str, np.ndarray], labels: np.ndarray, model: OpenMax, alpha: int
) -> dict[str, dict[str, dict[str, float]]]:
    """`{score: {kind of unknown: {metric: value}}}`.

    Args:
        logits: [.,K] of the `validation` images and of the `known` test images.
        unknown: [m,K] of each kind of unknown images.
        labels: int [n] of the known test images.
        model, alpha: of OpenMax.
    """
    held_out, known = (known_scores(logits[name], model, alpha) for name in ("validation", "known"))
    answers, classes = logits["known"].argmax(1), logits["known"].shape[1]
    made: dict[str, dict[str, dict[str, float]]] = {name: {} for name in known}
    for kind, others in unknown.items():
        for name, values in known_scores(others, model, alpha).items():
            taken = values, others.argmax(1)
            made[name][kind] = measure(held_out[name], (known[name], answers, labels), taken, classes)
    return made


def most_unknown_part(errors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """int [n]: the part that lies farthest above what it costs in known images, in their standard deviations.

    Args:
        errors: [n,K], what each part of an image speaks against its class.
        known: [v,K], the same of known validation images.

    >>> most_unknown_part(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[0.9, 4.0], [1.1, 6.0]])).tolist()
    [0, 0]
    """
    mean, deviation = known.mean(0), known.std(0)
    return np.argmax((errors - mean) / np.maximum(deviation, 1e-12), axis=1)


def part_of_each(assignment: np.ndarray, part_mask: np.ndarray, count: int) -> np.ndarray:
    """int [K]: the true part on which most of each model part's area lies, by images whose parts are known.

    Args:
        assignment: [n,K,h,w] >= 0.
        part_mask: int [n,H,W] of the same images, `2 + p` where true part p of `count` is seen; H a multiple of h.
        count: of the true parts.
    """
    h, w = assignment.shape[2:]
    n, height, width = part_mask.shape
    true = (part_mask[..., None] == 2 + np.arange(count)).reshape(n, h, height // h, w, width // w, count)
    return np.einsum("nkhw,nhwp->kp", assignment, true.mean((2, 4))).argmax(1)
