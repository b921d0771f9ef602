"""Which scores of photos can be trusted: on birds, where the truth is measured, how do they order explanations?

On birds the correctness of an explanation is known: the rank correlation of the credit it gives to the parts with
exact Shapley values (`effects`). A score that needs no rendering is valid as far as it orders several explanations of
the same model as their correctness does.

    effects = measure(predict, world)
    maps = {name: explain(effects.images, effects.predicted) for name, explain in explanations.items()}
    print(table(study(predict, effects, maps)))

Of the preset `slots` on birds (world 0, seed 0, 98 images of 49 classes, nine explanations and the oracle; 8 steps),
ROAD and the curves into the mean colour order the explanations of an image much as the truth does (mean rank
correlation 0.38 to 0.44; of their means over images 0.59 to 0.91). With black the curves say little (-0.15 to 0.23),
and drop, gain and increase say the reverse (-0.30 to -0.39): over explanations they go with the area of the map (0.84
to 0.88). The preset `gap` gives the same picture; its three ways of taking a part away agree by 0.799 only, just under
what the audit asks for. Two networks on one kind of image: measure your own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from partrep import UserError
from partrep.explain.credit import region_credit
from partrep.explain.effects import Effects, Predict
from partrep.explain.masking import FILLS
from partrep.explain.photo import LOWER_IS_BETTER, STEPS, score_on_photos
from partrep.metrics.intervals import Interval, bootstrap_interval
from partrep.metrics.rank import kendall, spearman

RESAMPLES = 1000


class Agreement(NamedTuple):
    """How a score orders explanations, against their correctness; 1 is the same order, 0 chance, -1 the reverse.

    The intervals are of 95 %, by bootstrap over classes: of other images, not of other models or explanations.
    """

    spearman: Interval
    """Mean over images of the rank correlation over explanations."""
    kendall: Interval
    """Mean over images of tau-b."""
    pooled_spearman: Interval
    """Rank correlation over explanations of their mean scores: does the table of means have the right order?"""
    pooled_kendall: Interval


def correctness(effects: Effects, maps: np.ndarray) -> np.ndarray:
    """Rank correlation of the maps' credit of the parts with their exact Shapley values, f64 [n]; as in the audit."""
    signed, _ = region_credit(maps, effects.masks)
    return spearman(signed[:, 2:], effects.shapley)


def agreement(score: np.ndarray, truth: np.ndarray, groups: np.ndarray, seed: int = 0) -> Agreement:
    """How far one score orders explanations as the truth does.

    Args:
        score: [n,E] finite, of each image and explanation; higher is better.
        truth: [n,E] finite, their correctness.
        groups: [n], the class of each image.
        seed: of the bootstrap.

    Returns:
        `Agreement`. An image for which all explanations score the same orders nothing and counts 0.

    Raises:
        UserError: shapes that differ, fewer than two explanations or classes, values that are not finite.

    Example:
        >>> truth = np.array([[0.1, 0.5, 0.9], [0.2, 0.4, 0.6]])
        >>> agreement(truth**2, truth, np.array([0, 1])).kendall.mean
        1.0

    Source: the meta-evaluation of explanations by rank correlation of their scores, as in Rong et al. (2022),
    who compare scores with each other; here against the measured truth.
    """
    score, truth, groups = np.asarray(score, np.float64), np.asarray(truth, np.float64), np.asarray(groups)
    one, tau = (
        bootstrap_interval(function(score, truth), groups, seed, RESAMPLES) for function in (spearman, kendall)
    )
    means = _resampled_means(np.stack([score, truth], 1), groups, seed)
    pooled = [_interval(function(means[:, 0], means[:, 1])) for function in (spearman, kendall)]
    return Agreement(one, tau, *pooled)


def compare(
    scores: Mapping[str, Mapping[str, np.ndarray]],
    truth: Mapping[str, np.ndarray],
    groups: np.ndarray,
    seed: int = 0,
) -> dict[str, Agreement]:
    """`agreement` of every score of `score_on_photos`, `{score: Agreement}`, best per image first.

    Args:
        scores: `{explanation: {score: [n]}}`, signs as `score_on_photos` gives them: lower is better is turned round.
        truth: `{explanation: [n]}`, its correctness.
        groups: [n].
        seed: of the bootstrap.

    Raises:
        UserError: names of explanations that differ, or as `agreement`.

    >>> truth = {"a": np.array([0.1, 0.2]), "b": np.array([0.3, 0.9])}
    >>> scores = {"a": {"drop": np.array([0.5, 0.5])}, "b": {"drop": np.array([0.1, 0.4])}}
    >>> compare(scores, truth, np.array([0, 1]))["drop"].spearman.mean
    1.0
    """
    if set(scores) != set(truth) or not scores:
        raise UserError(f"found scores of {sorted(scores)} and truth of {sorted(truth)}; expected the same, and some")
    names = sorted(scores)
    right = np.stack([truth[name] for name in names], 1)
    found = {}
    for measure in scores[names[0]]:
        sign = -1.0 if measure.split("/")[0] in LOWER_IS_BETTER else 1.0
        found[measure] = agreement(sign * np.stack([scores[name][measure] for name in names], 1), right, groups, seed)
    return dict(sorted(found.items(), key=lambda entry: -entry[1].spearman.mean))


def study(
    predict: Predict,
    effects: Effects,
    explanations: Mapping[str, np.ndarray],
    fills: Sequence[str] = tuple(FILLS),
    steps: int = STEPS,
    seed: int = 0,
) -> dict[str, Agreement]:
    """The validity of every score of photos, from the effects measured of a model and maps of explanations of it.

    Args:
        predict: the model whose effects were measured.
        effects: of `effects.measure`; the object, for energy and pointing, is the bird.
        explanations: by name, maps [n,h,w] finite for the classes `effects.predicted`; h and w divide S.
        fills: of `FILLS`.
        steps: of the curves.
        seed: of the bootstrap over classes.

    Returns:
        `{score: Agreement}`, best per image first.

    Raises:
        UserError: fewer than two explanations, or maps that do not fit.
    """
    masks = effects.masks > 0
    scores = score_on_photos(predict, explanations, effects.images, effects.predicted, masks, fills, steps)
    truth = {name: correctness(effects, maps) for name, maps in explanations.items()}
    return compare(scores, truth, effects.labels, seed)


def table(found: Mapping[str, Agreement]) -> str:
    """The agreements as an aligned text."""
    wide = max(map(len, found))
    lines = [" " * wide + "".join(f"{name:>24}" for name in Agreement._fields)]
    for name, values in found.items():
        lines.append(name.ljust(wide) + "".join(f"{v.mean:>10.2f} [{v.low:5.2f},{v.high:5.2f}]" for v in values))
    return "\n".join(lines)


def _resampled_means(values: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """f64 [1 + R,...]: the mean of values [n,...], then of R resamples of whole groups."""
    names, inverse = np.unique(groups, return_inverse=True)
    member = np.eye(len(names))[inverse]  # [n,G]
    sums = np.tensordot(member, values, axes=(0, 0))
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    times = np.stack([np.bincount(draw, minlength=len(names)) for draw in drawn]).astype(np.float64)
    counts = times @ member.sum(0)
    resampled = np.tensordot(times, sums, axes=(1, 0)) / counts.reshape(-1, *[1] * (values.ndim - 1))
    return np.concatenate([values.mean(0)[None], resampled])


def _interval(values: np.ndarray) -> Interval:
    """The first value with the interval of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))
