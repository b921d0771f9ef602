"""Do parts and heat maps lie on what annotators marked: a head, the whole object? Everything is chosen on validation.

A map is cut at a share of its maximum. Which share, which part is the head, and which parts together are the object is
chosen for every method alike: what overlaps best, on average, with the truth of the validation photos. The test photos
are then scored once. A heat map is a method of one part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from partrep.data.photos import IGNORED, OBJECT
from partrep.data.view_truth import ViewTruth
from partrep.discovery.subsample import one_thread
from partrep.evaluate.discovery import Found, label_maps, upsampled
from partrep.metrics.faithfulness import energy_inside, mask_iou, pointing_game, threshold_iou
from partrep.metrics.intervals import Interval, bootstrap_interval

THRESHOLDS = tuple(i / 10 for i in range(1, 10))
"""Shares of the maximum at which maps are cut, of which one is chosen."""

FEWEST = 2
"""Photos with a known region that choosing and scoring each need."""

RESAMPLES = 2000

LARGEST = 224
"""Pixels of the side at which maps and truth are compared; a larger view is compared at fewer, evenly spaced."""

BLOCK = 64
"""Photos whose maps are held in pixels at once."""


class Target(NamedTuple):
    """A region of n photos in the S x S pixels of the view."""

    inside: np.ndarray
    """bool [n,S,S]"""
    ignored: np.ndarray
    """bool [n,S,S], pixels that may be either and count nowhere"""
    several: bool
    """whether it may be made up of several parts, as a whole object is"""

    @property
    def known(self) -> np.ndarray:
        """bool [n]: the photos in which it is known and can be seen."""
        return np.asarray(self.inside.any(axis=(1, 2)))

    def seen(self) -> Target:
        """The same of these photos alone."""
        return self._replace(inside=self.inside[self.known], ignored=self.ignored[self.known])


class Choice(NamedTuple):
    """What stands for a target: the sum of some parts, cut at a share of its maximum."""

    parts: tuple[int, ...]
    threshold: float


class Located(NamedTuple):
    """What came out of one method."""

    choices: dict[str, Choice]
    """by target"""
    scores: dict[str, Interval]
    """mean over the test photos and its interval by bootstrap over them, by TARGET_SCORE"""


def targets_of(truth: ViewTruth, size: int) -> dict[str, Target]:
    """The regions known of photos, by name, in `size` x `size` pixels of the view.

    Filled boxes are called what they are around; a mask is the object, and takes the place of its box.
    """
    inside = np.stack([box_mask(box, size) for box in truth.boxes])
    found = {truth.boxed: Target(inside, np.zeros_like(inside), truth.boxed == "object")}
    if truth.masks is not None:
        masks = at_centres(truth.masks, size, size)
        found["object"] = Target(masks == OBJECT, masks == IGNORED, True)
    return {name: target for name, target in found.items() if target.known.any()}


def box_mask(box: np.ndarray, size: int) -> np.ndarray:
    """bool [size,size]: the pixels whose centres lie in a box (y0, x0, y1, x1) in [0,1]; none of an unknown one.

    >>> box_mask(np.array([0.0, 0.5, 1.0, 1.5]), 2).tolist(), box_mask(np.full(4, np.nan), 2).any()
    ([[False, True], [False, True]], np.False_)
    """
    centre = (np.arange(size) + 0.5) / size
    rows, columns = ((centre >= box[axis]) & (centre < box[axis + 2]) for axis in (0, 1))
    return rows[:, None] & columns


def localisation_table(
    methods: Mapping[str, tuple[Found, Found]],
    validation: Mapping[str, Target],
    test: Mapping[str, Target],
) -> dict[str, Located]:
    """`{method: what came out}` for the targets that enough validation and test photos have.

    Args:
        methods: name -> where it puts its parts in the validation and in the test photos; a heat map [n,1,h,w] may
            have negative values.
        validation: targets of the photos that are chosen with.
        test: the same of the photos that are scored.

    Scores of each target: `pointing` (does the centre of the strongest location lie on it: 15 pixels of tolerance, as
    in the source, would be half a cell of a 7x7 grid, and there are none here), `energy` (the share of the map's mass
    on it), `iou` (of the map cut at the chosen threshold) and, of methods of several regions, `iou_hard` (of the pixels
    at which one of the chosen parts wins). The last three are of maps brought to the pixels of the view bilinearly,
    which takes something off a peak, but nothing at the edge: the strongest pixel would be found there too often.
    """
    pairs = {name: (validation[name], test[name]) for name in test if name in validation}
    enough = {name: pair for name, pair in pairs.items() if min(target.known.sum() for target in pair) >= FEWEST}
    return {name: _located(*found, enough) for name, found in methods.items()}


def _located(chosen_with: Found, scored: Found, targets: Mapping[str, tuple[Target, Target]]) -> Located:
    choices: dict[str, Choice] = {}
    scores: dict[str, Interval] = {}
    for name, (validation, test) in targets.items():
        choices[name] = choose(_of(chosen_with, validation.known), validation.seen())
        found = scores_of(_of(scored, test.known), choices[name], test.seen())
        scores |= {f"{name}_{what}": _interval(values) for what, values in found.items()}
    return Located(choices, scores)


def _of(found: Found, which: np.ndarray | slice) -> Found:
    return Found(found.assignment[which], None if found.background is None else found.background[which])


def _blocks(found: Found, target: Target) -> Iterator[tuple[Found, Target]]:
    """The photos a few at a time."""
    for start in range(0, len(target.inside), BLOCK):
        at = slice(start, start + BLOCK)
        yield _of(found, at), target._replace(inside=target.inside[at], ignored=target.ignored[at])


def _interval(values: np.ndarray) -> Interval:
    return bootstrap_interval(values, np.arange(len(values)), resamples=RESAMPLES)


def choose(found: Found, target: Target) -> Choice:
    """The parts and the threshold of `THRESHOLDS` whose mean IoU with a target is greatest.

    One part, or of a target that may have several the first m in the order of the share of their mass that lies on
    it: under that order some m is the best of all sets where parts are hard and pixels are pooled over the photos.
    """
    best, greatest = Choice((0,), THRESHOLDS[0]), -1.0
    for parts in _candidates(found.assignment, target):
        overlap = np.concatenate([_overlap(*block, parts) for block in _blocks(found, target)]).mean(axis=0)
        if overlap.max() > greatest:
            best, greatest = Choice(parts, THRESHOLDS[int(overlap.argmax())]), float(overlap.max())
    return best


def _candidates(assignment: np.ndarray, target: Target) -> list[tuple[int, ...]]:
    count, size = assignment.shape[1], target.inside.shape[1]
    if not target.several or count == 1:
        return [(k,) for k in range(count)]
    inside, all_ = np.zeros(count), np.zeros(count)
    for maps, object_, ignored in zip(assignment, target.inside, target.ignored):
        mass = upsampled(np.maximum(maps, 0), size, size) * ~ignored
        inside, all_ = inside + (mass * object_).sum(axis=(1, 2)), all_ + mass.sum(axis=(1, 2))
    order = np.argsort(-inside / np.maximum(all_, 1e-12), kind="stable").tolist()
    return [tuple(order[: m + 1]) for m in range(count)]


def _overlap(found: Found, target: Target, parts: tuple[int, ...]) -> np.ndarray:
    """f64 [n,T]: IoU at each threshold."""
    return threshold_iou(_large(found, parts, target), target.inside, THRESHOLDS, target.ignored)


def _large(found: Found, parts: tuple[int, ...], target: Target) -> np.ndarray:
    """f32 [n,S,S]: the sum of some parts in pixels."""
    return upsampled(found.assignment[:, list(parts)].sum(axis=1), *target.inside.shape[1:])


def scores_of(found: Found, choice: Choice, target: Target) -> dict[str, np.ndarray]:
    """`{score: f64 [n]}` of what was chosen, in photos that all have the target."""
    parts = [_scores_of_block(*block, choice) for block in _blocks(found, target)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _scores_of_block(found: Found, target: Target, choice: Choice) -> dict[str, np.ndarray]:
    large, truth = _large(found, choice.parts, target), (target.inside, target.ignored)
    cells = found.assignment[:, list(choice.parts)].sum(axis=1)
    inside, ignored = (at_centres(mask, *cells.shape[1:]) for mask in truth)
    scores = {
        "pointing": pointing_game(cells, inside, ignored=ignored),
        "energy": energy_inside(large, *truth),
        "iou": threshold_iou(large, target.inside, [choice.threshold], target.ignored)[:, 0],
    }
    if found.regions > 1:
        won = label_maps(found, *target.inside.shape[1:])
        scores["iou_hard"] = mask_iou(np.isin(won, np.add(choice.parts, 1)), *truth)
    return scores


def at_centres(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Masks [n,H,W] at the centres of the cells of a grid, [n,h,w].

    >>> at_centres(np.array([[[0, 1, 2, 3, 4, 5]]]), 1, 2).tolist()
    [[[1, 4]]]
    """
    rows, columns = (((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip((height, width), masks.shape[1:]))
    return masks[:, rows[:, None], columns]


def noise(count: int, parts: int, cells: tuple[int, int], seed: int) -> Found:
    """Maps that know nothing: uniform in [0,1), drawn for every location of every photo and part."""
    return Found(np.random.default_rng(seed).random((count, parts, *cells), np.float32))


def centre(count: int, cells: tuple[int, int]) -> Found:
    """The same round hill in the middle of every photo: a Gaussian with a deviation of a quarter of the side."""
    y, x = (np.exp(-8 * ((np.arange(n) + 0.5) / n - 0.5) ** 2) for n in cells)
    return Found(np.broadcast_to((y[:, None] * x).astype(np.float32), (count, 1, *cells)))


class LinearCam:
    """Class activation maps of a logistic regression on the mean feature, for the class that it predicts.

    `M_n = sum_d w_cd z_nd / s_d`, with s the deviation over the training photos by which features are standardised:
    the weights of the features as they are, and as in the source no mean is taken off.

    Args:
        pooled: f32 [n,D], the mean features of the training photos.
        labels: i32 [n].

    Source: Zhou et al., Learning deep features for discriminative localization, CVPR 2016.
    Departures: a regularised logistic regression (L2, C = 1) on features that stay as they are.
    """

    def __init__(self, pooled: np.ndarray, labels: np.ndarray):
        with one_thread():
            self.fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(pooled, labels)
        weights = self.fitted[-1].coef_
        if len(weights) == 1:  # of two classes scikit-learn keeps the weights of the second
            weights = np.concatenate([-weights, weights])
        self.weights = weights / self.fitted[0].scale_

    def __call__(self, features: np.ndarray) -> Found:
        """The maps of features [n,h,w,D]."""
        predicted = self.fitted.predict(features.mean(axis=(1, 2)))
        rows = self.weights[np.searchsorted(self.fitted[-1].classes_, predicted)]
        return Found(np.einsum("nhwd,nd->nhw", features, rows.astype(np.float32))[:, None])
