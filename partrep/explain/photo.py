"""Explanations measured on photos, where no scene can be rendered again: by masking pixels and asking the model.

Everything takes maps made before, by whatever explanation, and a model that is any function on NumPy arrays:

    target = predicted_class(predict, images)
    found = score_on_photos(predict, {"grad-cam": maps}, images, target, masks)
    found["grad-cam"]["road"].mean()

The target is the class predicted on the whole image. Maps [n,h,w] are brought to the image by bilinear interpolation;
pixels are removed in the order of their values, equal ones in reading order. A masked image is no photo any more, and
what the model says of it depends on the fill (`masking.FILLS`): compare several, and see `validity` for which of these
scores order explanations as a rendered truth does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import special

from partrep import UserError, lookup
from partrep.explain.effects import Predict
from partrep.explain.maps import is_flat, minmax, upsample
from partrep.explain.masking import FILLS, Fill, black, donors, imputed
from partrep.metrics.faithfulness import (
    curve_area,
    energy_inside,
    increased,
    pointing_game,
    relative_drop,
    relative_gain,
)
from partrep.shapes import check_shapes

BATCH = 64
"""Images handed to the model at once, at most."""
STEPS = 16
"""Steps of the deletion and insertion curves."""
SHARES = tuple(share / 10 for share in range(1, 10))
"""Of the pixels, removed by ROAD."""
AREAS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of the pixels that are kept where explanations are compared at equal area."""

SCORES = {
    "drop": "share of the probability lost where the image is multiplied by the map; favours large maps",
    "gain": "share of the missing probability won by the same",
    "increase": "whether the probability rises by the same; favours large maps",
    "area": "mean of the map between 0 and 1, to be read beside the three above",
    "deletion": "mean probability while the most relevant pixels are removed first; favours small maps",
    "insertion": "mean probability while the most relevant pixels are put back first",
    "difference": "insertion less deletion",
    "kept": "mean probability where only the most relevant 5 to 50 % of the pixels are kept",
    "road": "mean probability with the least relevant 10 to 90 % imputed, less that with the most relevant",
    "road_accuracy": "the same of how often the class stays the predicted one",
    "energy": "share of the map's mass on the object",
    "pointing": "whether the greatest value lies on the object",
}
"""What `score_on_photos` says of each image; deletion to kept once for each fill, as `deletion/black`."""
LOWER_IS_BETTER = frozenset({"drop", "deletion", "area"})


class MaskedScores(NamedTuple):
    """Of each image multiplied by its map; times 100 their means are AD, AG and AI."""

    drop: np.ndarray
    """f64 [n] in [0,1], `max(0, o - e) / o`."""
    gain: np.ndarray
    """f64 [n] in [0,1], `max(0, e - o) / (1 - o)`."""
    increase: np.ndarray
    """bool [n], `e > o`."""
    area: np.ndarray
    """f64 [n] in [0,1], mean of the mask."""


class Curves(NamedTuple):
    """Probability of the class at T + 1 evenly spaced shares of changed pixels, none and all included."""

    deletion: np.ndarray
    """f64 [n,T+1], from the image to the fill."""
    insertion: np.ndarray
    """f64 [n,T+1], from the fill to the image."""


class Road(NamedTuple):
    """With the most and the least relevant pixels imputed, at T shares."""

    most: np.ndarray
    """f64 [n,T], probability with the most relevant removed (MoRF)."""
    least: np.ndarray
    """f64 [n,T], with the least relevant removed (LeRF)."""
    most_same: np.ndarray
    """bool [n,T], whether the class is still predicted; the mean over images is the accuracy of MoRF."""
    least_same: np.ndarray
    """bool [n,T]."""

    @property
    def difference(self) -> np.ndarray:
        """f64 [n], LeRF less MoRF, mean over shares; high is good."""
        return (self.least - self.most).mean(1)

    @property
    def accuracy_difference(self) -> np.ndarray:
        """f64 [n], the same of whether the class is still predicted."""
        return (self.least_same * 1.0 - self.most_same).mean(1)


def predicted_class(predict: Predict, images: np.ndarray) -> np.ndarray:
    """The class of highest logit of each image, i32 [n].

    >>> predicted_class(lambda images: images.sum((1, 2)), np.array([[[[0.1, 0.9]]]])).tolist()
    [1]
    """
    return _answers(predict, images, lambda rows: [images[rows]])[:, 0].argmax(-1).astype(np.int32)


def masked_scores(
    predict: Predict, images: np.ndarray, maps: np.ndarray, target: np.ndarray, fill: Fill = black
) -> MaskedScores:
    """Average drop, gain and increase of each image under its own map, `p(S x + (1 - S) f)` beside `p(x)`.

    S is the map between 0 and 1 (`soft_mask`), f the fill of a wholly removed image: with black, `S x` in image space,
    as in Opti-CAM. A map of nearly ones scores well on drop and increase whatever it says: read gain and area beside.

    Args:
        predict: images f32 [n,H,W,c] in [0,1] -> logits [n,C].
        images: f32 [n,H,W,c] in [0,1].
        maps: [n,h,w] finite.
        target: i32 [n], the predicted classes.
        fill: one of `FILLS`.

    Returns:
        `MaskedScores` of the n images.

    Raises:
        UserError: maps or logits that are not finite, logits or a target that do not fit.
        ValueError: shapes that do not agree.

    Example:
        >>> predict = lambda images: np.stack([images.sum((1, 2, 3)), np.zeros(len(images))], 1)
        >>> images, target = np.ones((1, 2, 2, 1), np.float32), np.array([0])
        >>> masked_scores(predict, images, np.ones((1, 2, 2)), target).drop.tolist()
        [0.0]

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018 (drop, increase); Zhang et al., Opti-CAM, CVIU 2024 (gain).
    Departures: the class is the predicted one, where papers differ.
    """
    images, target = _checked(images, maps, target)
    mask = soft_mask(maps, *images.shape[1:3])
    other, share = donors(target), mask[..., None]

    def views(rows: np.ndarray) -> list[np.ndarray]:
        gone = fill(images[rows], np.ones(mask[rows].shape, bool), images[other[rows]])
        return [images[rows], share[rows] * images[rows] + (1 - share[rows]) * gone]

    o, e = _of_target(_answers(predict, images, views), target)[..., 0].T
    return MaskedScores(relative_drop(o, e), relative_gain(o, e), increased(o, e), mask.mean((1, 2), dtype=np.float64))


def soft_mask(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps [n,h,w] as masks f32 [n,H,W] in [0,1]: interpolated, then `(s - min s) / (max s - min s)`.

    A map that is the same everywhere shows all where it is positive and nothing where it is not.

    >>> soft_mask([[[2.0, 4.0, 3.0]], [[1.0, 1.0, 1.0]]], 1, 3).tolist()
    [[[0.0, 1.0, 0.5]], [[1.0, 1.0, 1.0]]]
    """
    large = _at_image(maps, height, width)
    low, high = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    flat = np.asarray(is_flat(jnp.asarray(low), jnp.asarray(high)))
    return np.where(flat, low > 0, np.asarray(minmax(jnp.asarray(large)))).astype(np.float32)


def deletion_insertion(
    predict: Predict,
    images: np.ndarray,
    maps: np.ndarray,
    target: np.ndarray,
    fill: Fill = black,
    steps: int = STEPS,
) -> Curves:
    """Probability of the class while pixels are removed, and put back, in the order of the map.

    At step t of T the `round(t H W / T)` most relevant pixels are removed from the image (deletion), or they alone are
    shown (insertion). Areas by `metrics.insertion_deletion`. RISE deletes to black and inserts into a blurred image.

    Args:
        predict: images f32 [n,H,W,c] in [0,1] -> logits [n,C].
        images: f32 [n,H,W,c] in [0,1].
        maps: [n,h,w] finite, of which the order counts alone.
        target: i32 [n], the predicted classes.
        fill: one of `FILLS`.
        steps: T >= 1.

    Returns:
        `Curves` of the n images.

    Raises:
        UserError: no step, maps or logits that are not finite, logits or a target that do not fit.
        ValueError: shapes that do not agree.

    Example:
        >>> predict = lambda images: np.log(np.stack([images.sum((1, 2, 3)), 4 - images.sum((1, 2, 3))], 1) + 1e-9)
        >>> images, target = np.array([3.0, 1.0]).reshape(1, 1, 2, 1) / 4, np.array([0])
        >>> deletion_insertion(predict, images, [[[2.0, 1.0]]], target, steps=2).deletion.round(4).tolist()
        [[0.25, 0.0625, 0.0]]

    Source: Petsiuk, Das and Saenko, RISE, BMVC 2018.
    Departures: evenly spaced steps, the last one whole; one fill for both curves.
    """
    if steps < 1:
        raise UserError(f"found {steps} steps of a curve; expected at least 1")
    images, target = _checked(images, maps, target)
    rank = _rank(maps, *images.shape[1:3])
    pixels = rank[0].size
    counts = [(2 * t * pixels + steps) // (2 * steps) for t in range(steps + 1)]
    ranges = [(0, count) for count in counts] + [(count, pixels) for count in counts]
    scores = _filled(predict, images, target, rank, fill, ranges)[..., 0]
    return Curves(scores[:, : len(counts)], scores[:, len(counts) :])


def road(
    predict: Predict,
    images: np.ndarray,
    maps: np.ndarray,
    target: np.ndarray,
    shares: Sequence[float] = SHARES,
    fill: Fill = imputed,
) -> Road:
    """Remove and debias: the model on images whose most, or least, relevant pixels are imputed from the others.

    Args:
        predict: images f32 [n,H,W,c] in [0,1] -> logits [n,C].
        images: f32 [n,H,W,c] in [0,1].
        maps: [n,h,w] finite, of which the order counts alone.
        target: i32 [n], the predicted classes.
        shares: T shares of the pixels, in (0,1].
        fill: one of `FILLS`; noisy linear imputation in the source.

    Returns:
        `Road` of the n images.

    Raises:
        UserError: a share outside (0,1], maps or logits that are not finite, logits or a target that do not fit.
        ValueError: shapes that do not agree.

    Example:
        >>> predict = lambda images: np.stack([9 * images[:, 0, 0, 0], 9 * images[:, 0, 1, 0]], 1)
        >>> images, target = np.array([1.0, 0.0]).reshape(1, 1, 2, 1), np.array([0])
        >>> found = road(predict, images, [[[1.0, 0.0]]], target, shares=(0.5,))
        >>> found.least_same.tolist(), bool(found.difference[0] > 0)
        ([[True]], True)

    Source: Rong et al., A consistent and efficient evaluation strategy for attribution methods, ICML 2022.
    Departures: against the predicted class, without retraining; those of `masking.imputed`.
    """
    images, target = _checked(images, maps, target)
    rank = _rank(maps, *images.shape[1:3])
    pixels, counts = rank[0].size, _counts(shares, rank[0].size)
    ranges = [(0, count) for count in counts] + [(pixels - count, pixels) for count in counts]
    scores = _filled(predict, images, target, rank, fill, ranges)
    most, least = scores[:, : len(counts)], scores[:, len(counts) :]
    return Road(most[..., 0], least[..., 0], most[..., 1] > 0, least[..., 1] > 0)


def matched_area_curve(
    predict: Predict,
    images: np.ndarray,
    maps: np.ndarray,
    target: np.ndarray,
    fill: Fill = black,
    areas: Sequence[float] = AREAS,
) -> np.ndarray:
    """Probability of the class where the most relevant pixels alone are kept, as many for every explanation.

    Args:
        predict: images f32 [n,H,W,c] in [0,1] -> logits [n,C].
        images: f32 [n,H,W,c] in [0,1].
        maps: [n,h,w] finite, of which the order counts alone.
        target: i32 [n], the predicted classes.
        fill: one of `FILLS`, of all other pixels.
        areas: T shares of the pixels in (0,1]; `metrics.top_area_mask` says how they are rounded.

    Returns:
        f64 [n,T] in [0,1].

    Raises:
        UserError: an area outside (0,1], maps or logits that are not finite, logits or a target that do not fit.
        ValueError: shapes that do not agree.

    Example:
        >>> predict = lambda images: np.stack([images[:, 0, 0, 0], images[:, 0, 1, 0]], 1)
        >>> images, target = np.ones((1, 1, 2, 1)), np.array([0])
        >>> matched_area_curve(predict, images, [[[1.0, 0.0]]], target, areas=(0.5, 1.0)).round(3).tolist()
        [[0.731, 0.5]]

    Source: the insertion of RISE (Petsiuk et al. 2018), at areas that are the same for all.
    Departures: none.
    """
    images, target = _checked(images, maps, target)
    rank = _rank(maps, *images.shape[1:3])
    ranges = [(count, rank[0].size) for count in _counts(areas, rank[0].size)]
    return _filled(predict, images, target, rank, fill, ranges)[..., 0]


def score_on_photos(
    predict: Predict,
    explanations: Mapping[str, np.ndarray],
    images: np.ndarray,
    target: np.ndarray,
    masks: np.ndarray | None = None,
    fills: Sequence[str] = tuple(FILLS),
    steps: int = STEPS,
) -> dict[str, dict[str, np.ndarray]]:
    """All of `SCORES` for several explanations of the same images: `{explanation: {score: f64 [n]}}`.

    Args:
        predict: images f32 [n,H,W,c] in [0,1] -> logits [n,C]; called with one number of images throughout.
        explanations: by name, maps [n,h,w] finite.
        images: f32 [n,H,W,c] in [0,1].
        target: i32 [n], the predicted classes.
        masks: bool [n,H,W], the object, for energy and pointing; without it they are left out.
        fills: of `FILLS`, for deletion, insertion, their difference and kept; drop, gain and increase have black.
        steps: of the curves.

    Raises:
        UserError: an unknown fill, maps or logits that are not finite, logits or a target that do not fit.
        ValueError: shapes that do not agree.

    >>> predict = lambda images: images.sum((1, 2))
    >>> images, target = np.ones((2, 4, 4, 3), np.float32), np.array([0, 0])
    >>> found = score_on_photos(predict, {"ones": np.ones((2, 4, 4))}, images, target, fills=["black"], steps=2)
    >>> found["ones"]["drop"].tolist(), sorted(found["ones"])[1:3]
    ([0.0, 0.0], ['deletion/black', 'difference/black'])
    """
    chosen = {name: lookup(dict(FILLS), name, "fill") for name in fills}
    return {
        name: _score(predict, images, maps, target, masks, chosen, steps) for name, maps in explanations.items()
    }


def _score(
    predict: Predict,
    images: np.ndarray,
    maps: np.ndarray,
    target: np.ndarray,
    masks: np.ndarray | None,
    fills: Mapping[str, Fill],
    steps: int,
) -> dict[str, np.ndarray]:
    """The scores of one explanation."""
    found: dict[str, np.ndarray] = masked_scores(predict, images, maps, target)._asdict()
    for name, fill in fills.items():
        curves = deletion_insertion(predict, images, maps, target, fill, steps)
        deletion, insertion = curve_area(curves.deletion), curve_area(curves.insertion)
        found |= {f"deletion/{name}": deletion, f"insertion/{name}": insertion}
        found[f"difference/{name}"] = insertion - deletion
        found[f"kept/{name}"] = matched_area_curve(predict, images, maps, target, fill).mean(1)
    imputation = road(predict, images, maps, target)
    found |= {"road": imputation.difference, "road_accuracy": imputation.accuracy_difference}
    if masks is not None:
        large = _at_image(maps, *np.shape(images)[1:3])
        found |= {"energy": energy_inside(large, masks), "pointing": pointing_game(large, masks)}
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


def _checked(images: np.ndarray, maps: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, target = np.asarray(images, np.float32), np.asarray(target)
    check_shapes("scores on photos", images=(images, "n H W c"), maps=(maps, "n h w"), target=(target, "n"))
    if not len(images):
        raise UserError("found no image to score explanations on; expected at least one")
    return images, target


def _at_image(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps [n,h,w] at the size of the image, f32 [n,H,W]."""
    large = np.asarray(upsample(jnp.asarray(maps, jnp.float32), height, width))
    if not np.isfinite(large).all():
        raise UserError("found maps with values that are not finite; expected none")
    return large


def _rank(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """The place of each pixel from the most relevant, 0, to the least, i32 [n,H,W]; equal ones in reading order."""
    large = _at_image(maps, height, width)
    order = np.argsort(-large.reshape(len(large), -1), axis=1, kind="stable")
    rank = np.empty(order.shape, np.int32)
    np.put_along_axis(rank, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return rank.reshape(large.shape)


def _counts(shares: Sequence[float], pixels: int) -> list[int]:
    """Numbers of pixels, rounded as `metrics.top_area_mask` does."""
    if not shares or not all(0 < share <= 1 for share in shares):
        raise UserError(f"found shares {tuple(shares)} of the pixels; expected some in (0, 1]")
    return [max(1, int(share * pixels + 0.5)) for share in shares]


def _filled(
    predict: Predict,
    images: np.ndarray,
    target: np.ndarray,
    rank: np.ndarray,
    fill: Fill,
    ranges: Sequence[tuple[int, int]],
) -> np.ndarray:
    """f64 [n,T,2], `_of_target` with the pixels of `first <= rank < end` removed, for each of T (first, end)."""
    other = donors(target)

    def views(rows: np.ndarray) -> Iterable[np.ndarray]:
        for first, end in ranges:
            removed = (rank[rows] >= first) & (rank[rows] < end)
            yield fill(images[rows], removed, images[other[rows]])

    return _of_target(_answers(predict, images, views), target)


def _of_target(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Logits [n,T,C] -> f64 [n,T,2]: the probability of the target, and 1 where it is the class predicted."""
    if not ((target >= 0) & (target < logits.shape[-1])).all():
        raise UserError(f"found targets outside the {logits.shape[-1]} classes of the logits; expected classes of them")
    chosen = np.broadcast_to(target[:, None, None], (*logits.shape[:2], 1))
    probability = np.take_along_axis(special.softmax(logits, axis=-1), chosen, -1)
    return np.concatenate([probability, logits.argmax(-1)[..., None] == chosen], -1)


def _answers(
    predict: Predict, images: np.ndarray, views: Callable[[np.ndarray], Iterable[np.ndarray]]
) -> np.ndarray:
    """Logits f64 [n,T,C] of the T changed versions of each image, in batches of one shape.

    `views` takes the rows of a batch and yields the versions one by one; the last batch repeats the last image.
    """
    n = len(images)
    size = -(-n // -(-n // BATCH))  # as even as it gets, for the fewest repeated images
    made = []
    for start in range(0, n, size):
        rows = np.minimum(np.arange(start, start + size), n - 1)
        made.append(np.stack([_logits(predict, view) for view in views(rows)], 1)[: n - start])
    return np.concatenate(made)


def _logits(predict: Predict, images: np.ndarray) -> np.ndarray:
    logits = np.asarray(predict(images), np.float64)
    if logits.ndim != 2 or len(logits) != len(images) or not np.isfinite(logits).all():
        raise UserError(f"predict gave shape {logits.shape} for {len(images)} images, or not finite; expected [n,C]")
    return logits
