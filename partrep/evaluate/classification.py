"""Scores of a classifier on labelled images, by name.

In: batches of images, and a function that says what the model answers to one. Out: `{name: number}`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from partrep import UserError, lookup
from partrep.metrics.accuracy import accuracy
from partrep.metrics.calibration import brier, expected_calibration_error, negative_log_likelihood, softmax
from partrep.metrics.intervals import Interval, bootstrap_interval, share_interval
from partrep.metrics.reliance import reliance_of_sums

LISTED = 10
"""Pairs of classes that are listed as taken for one another."""
MOST_PARTS = 64
"""With more parts than this they belong to classes, and their reliance is not listed."""

Numbers = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a classifier answers to n images of some of its classes.

    Attributes:
        logits: f32 [n,C].
        labels: int [n] in [0,C).
        classes: C names.
        transform: logits [...,C] -> those that a softmax makes probabilities of.
        own: f32 [n,K], what each part adds to the logit of the class that the image is taken for; None where the
            logits are no sum over parts.
        mean: f64 [K,C], what each part adds to each logit on average; None likewise.
    """

    logits: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    transform: Callable[[np.ndarray], np.ndarray] = np.asarray
    own: np.ndarray | None = None
    mean: np.ndarray | None = None

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """int [n]: the class that each image is taken for."""
        return self.logits.argmax(1)

    @functools.cached_property
    def right(self) -> np.ndarray:
        """bool [n]: whether that is its class."""
        return self.predicted == self.labels

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """f64 [n,C]."""
        return softmax(self.transform(self.logits))

    @functools.cached_property
    def by_class(self) -> dict[int, float]:
        """The accuracy of each class that has images."""
        shown, which = np.unique(self.labels, return_inverse=True)
        return dict(zip(shown.tolist(), (np.bincount(which, self.right) / np.bincount(which)).tolist()))


def gathered(
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    batches: Iterable[Mapping[str, Any]],
    classes: Sequence[str],
    transform: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Answers:
    """What a model answers to all batches; no more than one of them is held at a time.

    Args:
        answer: batch -> `logits` [b,C] and, of an additive model, `own` [b,K] and `total` [K,C], the sum of the
            contributions over its valid images.
        batches: each with `label` int [b] and `valid` bool [b], False for padding.
        classes: names.
        transform: as of `Answers`.
    """
    kept: dict[str, list[np.ndarray]] = {"logits": [], "label": [], "own": []}
    total: Any = 0.0
    for batch in batches:
        found = {**answer(batch), "label": batch["label"]}
        for name in kept.keys() & found.keys():
            kept[name].append(np.asarray(found[name])[batch["valid"]])
        if "total" in found:
            total = total + np.asarray(found["total"], np.float64)
    logits, labels = np.concatenate(kept["logits"]), np.concatenate(kept["label"])
    own = np.concatenate(kept["own"]) if kept["own"] else None
    return Answers(logits, labels, tuple(classes), transform, own, None if own is None else total / len(labels))


def scores(answers: Answers, names: Sequence[str]) -> Numbers:
    """The metrics of those names, in their order."""
    made: Numbers = {}
    for name in names:
        made |= lookup(METRICS, name, "metric")(answers)
    return made


def chosen(names: Sequence[str], classes: int, parts: int, additive: bool) -> tuple[str, ...]:
    """The metrics of those names, or where there are none all that a model of so many classes and parts admits.

    Raises:
        UserError: an unknown name, or a metric that the model does not admit.

    >>> chosen((), classes=3, parts=8, additive=False)[:3]
    ('accuracy', 'mean_per_class_accuracy', 'negative_log_likelihood')
    """
    for name in names:
        lookup(METRICS, name, "metric")
    missing = {}
    if classes <= 5:
        missing["top5_accuracy"] = f"the model has {classes} classes; expected more than 5"
    if not additive:
        missing["reliance"] = "the model's logits are no sum over parts; expected one with a linear head"
    elif not 1 < parts <= MOST_PARTS:
        missing["reliance"] = f"the model has {parts} parts; expected 2 to {MOST_PARTS}, which all images share"
    for name in names:
        if name in missing:
            raise UserError(f"no {name}: {missing[name]}")
    return tuple(names) or tuple(name for name in METRICS if name not in missing)


def _named(name: str, interval: Interval) -> Numbers:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _accuracy(answers: Answers) -> Numbers:
    return _named("accuracy", share_interval(answers.right))


def _mean_per_class(answers: Answers) -> Numbers:
    name, values = "mean_per_class_accuracy", list(answers.by_class.values())
    return {name: values[0]} if len(values) == 1 else _named(name, bootstrap_interval(values, np.arange(len(values))))


def _top5(answers: Answers) -> Numbers:
    return {"top5_accuracy": accuracy(answers.logits, answers.labels, k=5).mean}


def _likelihood(answers: Answers) -> Numbers:
    value = negative_log_likelihood(answers.transform(answers.logits), answers.labels)
    return {"negative_log_likelihood": value}


def _brier(answers: Answers) -> Numbers:
    return {"brier": brier(answers.probabilities, answers.labels)}


def _calibration(answers: Answers) -> Numbers:
    value = expected_calibration_error(answers.probabilities, answers.labels)
    return {"expected_calibration_error": value}


def _per_class(answers: Answers) -> Numbers:
    return {f"class/{answers.classes[c]}/accuracy": value for c, value in answers.by_class.items()}


def _confusions(answers: Answers) -> Numbers:
    """How many images of one class are taken for another, the pairs with the most of them."""
    wrong = ~answers.right
    pairs, counts = np.unique(np.stack([answers.labels[wrong], answers.predicted[wrong]]), axis=1, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:LISTED]
    names = answers.classes
    return {f"confusion/{names[pairs[0, i]]}/{names[pairs[1, i]]}": float(counts[i]) for i in most}


def _reliance(answers: Answers) -> Numbers:
    assert answers.own is not None and answers.mean is not None
    shares = np.bincount(answers.predicted, minlength=len(answers.classes)) / len(answers.labels)
    found = reliance_of_sums(answers.own.mean(0, dtype=np.float64), answers.mean, shares)
    return {f"parts/{k}/reliance": float(share) for k, share in enumerate(found)}


METRICS: dict[str, Callable[[Answers], Numbers]] = {
    "accuracy": _accuracy,
    "mean_per_class_accuracy": _mean_per_class,
    "top5_accuracy": _top5,
    "negative_log_likelihood": _likelihood,
    "brier": _brier,
    "expected_calibration_error": _calibration,
    "per_class_accuracy": _per_class,
    "confusion_pairs": _confusions,
    "reliance": _reliance,
}
"""By the name that chooses them; each gives one number or several."""
