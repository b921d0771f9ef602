"""Open-set recognition: do scores tell images of known classes from others, and are the known ones still recognised?

A score is of how well an image is known: larger is more known, whichever class a metric calls positive. A rule that
compares with a threshold takes what is at or over it.
"""

from __future__ import annotations

import numpy as np

from partrep import UserError
from partrep.metrics.labels import whole_numbers

POSITIVES = ("known", "unknown")


def auroc(known, unknown) -> float:
    """Area under the ROC curve, `P(s_known > s_unknown) + P(s_known = s_unknown) / 2`.

    The same number whichever class is called positive, and whatever increasing map is applied to the scores.

    Args:
        known: [n] scores of images of known classes, in any unit; infinite ones may be.
        unknown: [m] scores of the others.

    Returns:
        A float in [0,1]; 0.5 is chance, and under it the scores are upside down.

    Raises:
        UserError: no scores on a side, not one axis, or NaN.

    Example:
        >>> auroc([3.0, 2.0], [2.0, 1.0])
        0.875

    Source: Hanley and McNeil (1982); the rank formula of Mann and Whitney (1947).
    Departures: none.
    """
    tally = _Tally(*_sides("auroc", known, unknown))
    below = np.cumsum(tally.unknown) - tally.unknown / 2  # of equal ones half
    return float((tally.known * below).sum() / (tally.knowns * tally.unknowns))


def aupr(known, unknown, positive: str) -> float:
    """Area under the precision-recall curve as the average precision, `sum_t (R_t - R_{t-1}) P_t`.

    `P_t` and `R_t` are precision and recall of calling positive what is at or beyond the threshold `t`, over the
    different scores `t`, the most positive first: equal scores are taken together, and nothing is interpolated.

    Args:
        known: [n] scores of images of known classes, larger is more known.
        unknown: [m] scores of the others.
        positive: which class is found, "known" (`AUPR-in`: large scores are positive) or "unknown" (`AUPR-out`:
            small ones are).

    Returns:
        A float in (0,1]; chance is the share of positives.

    Raises:
        UserError: another `positive`; scores as in `auroc`.

    Example:
        >>> aupr([3.0, 1.0], [2.0], "known"), aupr([3.0, 1.0], [2.0], "unknown")
        (0.8333333333333333, 0.5)

    Source: Davis and Goadrich (2006); the step-wise sum, as scikit-learn's `average_precision_score`.
    Departures: none from that. Code that joins the points by trapezoids reports more.
    """
    true, false = _curve("aupr", known, unknown, positive)
    precision = true / (true + false)
    return float(np.sum(np.diff(true, prepend=0.0) * precision) / true[-1])


def fpr_at_tpr(known, unknown, positive: str, tpr: float = 0.95) -> float:
    """False positive rate at the first threshold with a true positive rate of at least `tpr`.

    `FPR = min_t {FP(t) / N : TP(t) / P >= tpr}` over the different scores `t`: equal ones are taken together. The
    two choices of the positive class are different numbers, and both are in use: with "known", which share of unknown
    images passes where 95 % of known ones do; with "unknown", which share of known images is rejected where 95 % of
    unknown ones are.

    Args:
        known: [n] scores of images of known classes, larger is more known.
        unknown: [m] scores of the others.
        positive: "known" or "unknown".
        tpr: in (0,1].

    Returns:
        A float in [0,1]; lower is better.

    Raises:
        UserError: another `positive`, a rate out of range; scores as in `auroc`.

    Example:
        >>> fpr_at_tpr([4.0, 3.0, 1.0], [2.0, 0.0], "known"), fpr_at_tpr([4.0, 3.0, 1.0], [2.0, 0.0], "unknown")
        (0.5, 0.3333333333333333)

    Source: FPR95 of Liang et al. (ODIN, 2018), known positive; OpenOOD (Zhang et al. 2023), unknown positive.
    Departures: none.
    """
    if not 0 < tpr <= 1:
        raise UserError(f"fpr_at_tpr: tpr is {tpr}; expected a rate in (0, 1]")
    true, false = _curve("fpr_at_tpr", known, unknown, positive)
    # In counts: a rate that is met exactly must not be missed by rounding.
    needed = np.ceil(tpr * true[-1] - 1e-9)
    return float(false[np.argmax(true >= needed)] / false[-1])


def oscr(known, correct, unknown) -> float:
    """Open-set classification rate: area under correct classification over false positives.

    `CCR(t) = |{known: correct, s >= t}| / n`, `FPR(t) = |{unknown: s >= t}| / m`, and
    `OSCR = int_0^1 CCR dFPR` by trapezoids between the different scores `t`, equal ones taken together. It is at most
    the accuracy on known images, and is `auroc` where all of those are right.

    Args:
        known: [n] scores of images of known classes, larger is more known.
        correct: bool (or 0 and 1) [n], whether each of these is classified right (among the known classes).
        unknown: [m] scores of the others.

    Returns:
        A float in [0,1].

    Raises:
        UserError: as many `correct` as known scores are expected, and no other values; scores as in `auroc`.

    Example:
        >>> oscr([3.0, 2.0], [True, False], [2.0, 1.0]), oscr([3.0, 2.0], [True, True], [2.0, 1.0])
        (0.5, 0.875)

    Source: Dhamija et al., Reducing Network Agnostophobia (NeurIPS 2018), equation 5 and figure 1.
    Departures: one sort, not a loop over cuts. The code of Chen et al. (ARPL), which most papers report, does not take
    equal scores together, and at each cut counts the known image there as rejected and the unknown one as accepted:
    without ties it is lower by 1 / n or so, with many of them it hangs on the order of the images.
    """
    known, unknown = _sides("oscr", known, unknown)
    correct = np.asarray(correct)
    if correct.shape != known.shape:
        raise UserError(f"oscr: correct has shape {correct.shape}; expected {known.shape}, one a known score")
    other = correct[(correct != 0) & (correct != 1)]
    if other.size:
        raise UserError(f"oscr: correct has {other[0]} among its values; expected bool, or 0 and 1")
    tally = _Tally(known, unknown, correct == 1)
    right = np.concatenate([[0.0], np.cumsum(tally.correct[::-1])]) / tally.knowns
    passed = np.concatenate([[0.0], np.cumsum(tally.unknown[::-1])]) / tally.unknowns
    return float(np.sum(np.diff(passed) * (right[1:] + right[:-1]) / 2))


def known_threshold(validation, tpr: float = 0.95) -> float:
    """The largest threshold at or over which at least a share `tpr` of known validation images is.

    Args:
        validation: [n] scores of images of known classes that were not trained on; no unknown image is needed.
        tpr: in (0,1].

    Returns:
        One of the scores.

    Raises:
        UserError: no scores, not one axis, or NaN; a rate out of range.

    Example:
        >>> known_threshold([4.0, 1.0, 3.0, 2.0], 0.75)
        2.0

    Source: textbook.
    Departures: none.
    """
    if not 0 < tpr <= 1:
        raise UserError(f"known_threshold: tpr is {tpr}; expected a rate in (0, 1]")
    scores = np.sort(_scores("known_threshold", "validation", validation))[::-1]
    return float(scores[int(np.ceil(tpr * len(scores) - 1e-9)) - 1])


def macro_f1(predicted, labels, scores, threshold: float, classes: int) -> float:
    """Mean F1 over the K known classes and the unknown one, `F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)`.

    An image is taken for unknown where its score is under the threshold, else for its predicted class.

    Args:
        predicted: int [n] in 0..K-1, the known class each image is most like.
        labels: int [n] in 0..K; K is unknown.
        scores: [n], larger is more known.
        threshold: such as `known_threshold` of validation images gives; never chosen on these images.
        classes: K >= 1.

    Returns:
        A float in [0,1]. A class that is neither in the labels nor among the answers has no F1 and is left out.

    Raises:
        UserError: shapes that differ, a label or a class that is no integer or out of range, NaN among the scores or
            as the threshold.

    Example:
        >>> macro_f1([0, 1, 0], [0, 1, 2], [3.0, 2.0, 0.0], threshold=1.0, classes=2)
        1.0
        >>> round(macro_f1([0, 1, 0], [0, 1, 2], [3.0, 2.0, 0.0], threshold=-1.0, classes=2), 3)
        0.556

    Source: Perera et al. (2020), section 4.2, F-measure at a threshold that accepts 95 % of known validation images.
    Departures: none.
    """
    predicted, labels = whole_numbers(predicted, "macro_f1: predicted"), whole_numbers(labels, "macro_f1: labels")
    scores = _scores("macro_f1", "image", scores)
    if np.isnan(threshold):
        raise UserError("macro_f1: the threshold is NaN; expected a number")
    if not predicted.shape == labels.shape == scores.shape:
        found = f"{predicted.shape}, {labels.shape} and {scores.shape}"
        raise UserError(f"macro_f1: predicted, labels and scores of shapes {found}; expected the same [n >= 1]")
    for name, values, most in (("predicted", predicted, classes - 1), ("labels", labels, classes)):
        if values.min() < 0 or values.max() > most:
            raise UserError(f"macro_f1: {name} from {values.min()} to {values.max()}; expected 0 to {most}")
    answers = np.where(scores >= threshold, predicted, classes)
    hits = np.bincount(labels[answers == labels], minlength=classes + 1)
    both = np.bincount(labels, minlength=classes + 1) + np.bincount(answers, minlength=classes + 1)
    seen = both > 0
    return float(np.mean(2.0 * hits[seen] / both[seen]))


def openness(train: int, test: int, target: int | None = None) -> float:
    """How open a problem is, `1 - sqrt(2 N_train / (N_test + N_target))`.

    Args:
        train: classes seen in training.
        test: classes in the test images, known and unknown.
        target: classes to be recognised there; None: those of training.

    Returns:
        A float in [0,1); 0 for a closed problem.

    Raises:
        UserError: no class, fewer test classes than classes to recognise, or so few of both that the formula falls
            below 0.

    Example:
        >>> openness(5, 5), round(openness(6, 10), 4)
        (0.0, 0.134)

    Source: Scheirer et al., Toward Open Set Recognition (TPAMI 2013), equation 1.
    Departures: none. Some papers write `1 - sqrt(2 N_train / (2 N_train + N_unknown))`, which is this with `target`
    those of training; others leave the root out.
    """
    target = train if target is None else target
    if min(train, target) < 1 or test < target or test + target < 2 * train:
        found = f"openness of {train} training, {test} test, {target} target classes"
        raise UserError(f"{found}; expected test >= target and test + target >= 2 * training")
    return float(1.0 - np.sqrt(2.0 * train / (test + target)))


class _Tally:
    """How many known, right and unknown images have each of the different scores, the smallest score first."""

    def __init__(self, known: np.ndarray, unknown: np.ndarray, correct: np.ndarray | None = None):
        values, place = np.unique(np.concatenate([known, unknown]), return_inverse=True)
        first, second = place[: len(known)], place[len(known) :]
        self.knowns, self.unknowns = len(known), len(unknown)
        self.known = np.bincount(first, minlength=len(values)).astype(np.float64)
        self.unknown = np.bincount(second, minlength=len(values)).astype(np.float64)
        self.correct = np.bincount(first, correct, minlength=len(values))


def _curve(function: str, known, unknown, positive: str) -> tuple[np.ndarray, np.ndarray]:
    """Counts of true and false positives at each of the different scores, the most positive first."""
    if positive not in POSITIVES:
        raise UserError(f"{function}: positive is {positive!r}; expected {' or '.join(POSITIVES)}")
    tally = _Tally(*_sides(function, known, unknown))
    if positive == "known":
        return np.cumsum(tally.known[::-1]), np.cumsum(tally.unknown[::-1])
    return np.cumsum(tally.unknown), np.cumsum(tally.known)


def _sides(function: str, known, unknown) -> tuple[np.ndarray, np.ndarray]:
    return _scores(function, "known", known), _scores(function, "unknown", unknown)


def _scores(function: str, name: str, values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not values.size:
        raise UserError(f"{function}: {name} scores have shape {values.shape}; expected [n] with n >= 1")
    if np.isnan(values).any():
        raise UserError(f"{function}: {np.isnan(values).sum()} of the {name} scores are NaN; expected numbers")
    return values
