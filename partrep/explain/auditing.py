"""Explanations measured by intervention: how well the credit they give agrees with what the model depends on.

Works for any model and any explanation that are functions on NumPy arrays, whatever made them:

    result = audit(predict, {"grad-cam": explain}, birds.World(100, dimension=2, absence=6))
    print(result.table())
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from partrep import UserError
from partrep.data import birds
from partrep.explain.credit import baselines, region_credit
from partrep.explain.effects import WAYS, Effects, Predict, measure
from partrep.metrics.intervals import Interval, bootstrap_interval
from partrep.metrics.rank import spearman

Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`(images f32 [n,S,S,3], classes i32 [n]) -> credit [n,h,w]` of each cell for the logit of the class, signed."""

AGREE = 0.8
"""The three ways of taking a part away must order the parts alike, or no score says anything."""

SCORES = {
    "correctness": "rank correlation over the parts of an image with exact Shapley values of the logit; chance 0",
    "swap": "rank correlation with the mean effect of showing another value of the part; chance 0",
    "contrast": "for the class against its rival: how far the parts that differ get more credit than those that both "
    "share, 2 AUC - 1; chance 0",
    "irrelevant": "share of the credit of parts that goes to parts known to say nothing; lower is better",
    "outside": "share of the credit that lies outside the bird; lower is better where the surroundings say nothing",
    "spill": "after a swap, the share of the change in credit that is given to what was not touched; lower is better",
    "explained": "R^2 of the effects of taking a part away against its credit, over all images and parts",
    "slope": "of the same regression: 1 where credit is in units of the logit",
    "background": "rank correlation over images of the credit outside the bird with the effect of another habitat",
}
LOWER_IS_BETTER = frozenset({"irrelevant", "outside", "spill"})
DIRECTIONLESS = frozenset({"slope"})  # 1 is best
POOLED = ("explained", "slope", "background")  # numbers of all images together, without an interval


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        model: numbers of the model itself: `accuracy`, `interaction` (the share of the parts' effect that no
            additive account explains), `part_effect`, `recolour_effect`, `background_effect` and `ring_effect` (mean
            sizes of the change of the logit; parts and backgrounds change to the mean of six others, a colour to one
            other, where nothing averages out: its number is the larger for that), `ceiling` (rank correlation of its
            Shapley values with those of another bird of the class), `agreement`.
        scores: `{explanation: {score: Interval}}`; those of `POOLED` have no width.
        correctness: `{explanation: f64 [n]}` of each image, so that explanations of one model can be paired.
        valid: whether the three ways of taking a part away agree; where not, no score is to be believed.
        extrapolated: whether Shapley values rest on images that lack more parts than any training image.
    """

    model: Mapping[str, float]
    scores: Mapping[str, Mapping[str, Interval]]
    correctness: Mapping[str, np.ndarray]
    valid: bool
    extrapolated: bool

    def table(self) -> str:
        """The scores as an aligned text, or that they are not valid."""
        if not self.valid:
            return f"not valid: swap, remove and hide agree by {self.model['agreement']:.3f}; expected {AGREE}"
        heads = [name for name in SCORES if any(name in found for found in self.scores.values())]
        wide = max(map(len, self.scores))
        lines = [" " * wide + "".join(f"{name:>13}" for name in heads)]
        for name, found in self.scores.items():
            lines.append(name.ljust(wide) + "".join(_cell(found.get(head)) for head in heads))
        if self.extrapolated:
            lines.append("Shapley values rest on birds that lack more parts than any training image: extrapolated.")
        return "\n".join(lines)


def _cell(interval: Interval | None) -> str:
    return f"{'–':>13}" if interval is None else f"{interval.mean:>13.2f}"


def audit(
    predict: Predict,
    explain: Mapping[str, Explain],
    world: birds.World,
    group: str = "all",
    images: int = 2,
    size: int = 64,
    seed: int = 0,
) -> Audit:
    """Measures what a model's predictions depend on, and how well explanations of them say so.

    What is explained is the logit of the predicted class. The credit of a true part is the sum of the map over its
    visible pixels. Beside the explanations stand baselines that know nothing of the model, and the oracle that gives
    every part its own Shapley value.

    Args:
        predict: images f32 [n,S,S,3] in [0,1] -> logits [n,C]; C the classes of the group in their order.
        explain: by name, (images, classes i32 [n]) -> credit [n,h,w], signed; h and w divide S. A map that has no
            sign, or is scaled for each image, is judged by its order.
        world: whose birds; with `absence=6` the model has seen every subset of the parts in training.
        group: the group of classes that the model tells apart.
        images: of each class.
        size: S.
        seed: of the random baseline and the intervals.

    Returns:
        `Audit`, scores with 95 % intervals by bootstrap over classes.

    Raises:
        UserError: logits or credit of another shape, or not finite; a name that is a baseline's.

    Example:
        >>> world = birds.World(dimension=2, absence=6, images=(1, 1, 2))
        >>> weights = np.random.default_rng(0).normal(size=(16 * 16 * 3, 14))
        >>> def predict(images): return images.reshape(len(images), -1) @ weights
        >>> result = audit(predict, {}, world, "novel", images=1, size=16)
        >>> round(result.scores["oracle"]["correctness"].mean, 2)
        1.0

    Source: the protocol of FunnyBirds (Hesse et al. 2023), with swaps, exact Shapley values and baselines beside.
    """
    return score(measure(predict, world, group, images, size), explain, world.informative, seed)


def score(effects: Effects, explain: Mapping[str, Explain], informative: np.ndarray, seed: int = 0) -> Audit:
    """Scores explanations against effects measured before; `informative` bool [6] are the parts that tell classes."""
    fixed = baselines(effects.images, effects.masks, seed)
    if taken := sorted({*fixed, "oracle"} & set(explain)):
        raise UserError(f"an explanation is named {taken[0]!r}, as a baseline is; expected another name")
    credit = {name: region_credit(maps, effects.masks) for name, maps in fixed.items()} | {"oracle": _oracle(effects)}
    each = {name: _agreements(effects, *found, informative) for name, found in credit.items()}
    pooled = {name: _pooled(effects, signed) for name, (signed, _) in credit.items()}
    for name, function in explain.items():
        each[name], pooled[name] = _scores(effects, function, informative)
    scores = {name: _intervals(effects, found, seed) | pooled[name] for name, found in each.items()}
    agreement = way_agreement(effects)
    correctness = {name: found["correctness"] for name, found in each.items()}
    return Audit(_of_the_model(effects, agreement), scores, correctness, agreement >= AGREE, effects.extrapolated)


def way_agreement(effects: Effects) -> float:
    """The smallest rank correlation between the effects of two of the three ways, over images and parts.

    Of the parts that a branch hides alone: a branch that hides two parts is another intervention. 0 where none is.
    """
    ways = [getattr(effects, way)[effects.alone] for way in WAYS]
    if effects.alone.sum() < 2:
        return 0.0
    return min(spearman(one, two).item() for i, one in enumerate(ways) for two in ways[:i])


def _of_the_model(effects: Effects, agreement: float) -> dict[str, float]:
    return {
        "accuracy": float((effects.predicted == effects.labels).mean()),
        "agreement": agreement,
        "interaction": float(effects.interaction.mean()),
        "part_effect": float(np.abs(effects.swap).mean()),
        "recolour_effect": float(np.abs(effects.recolour).mean()),
        "background_effect": float(np.abs(effects.background).mean()),
        "ring_effect": float(np.abs(effects.ring).mean()),
        "ceiling": float(spearman(effects.shapley, effects.twin_shapley).mean()),
    }


def _oracle(effects: Effects) -> tuple[np.ndarray, np.ndarray]:
    """Every part its own Shapley value, f64 [n,8], signed and in size: also one of which no pixel is seen."""
    signed = np.concatenate([np.zeros((len(effects.labels), 2)), effects.shapley], 1)
    return signed, np.abs(signed)


def _scores(
    effects: Effects, explain: Explain, informative: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, Interval]]:
    """The scores of each image f64 [n], and those of all images together."""
    maps = explain(effects.images, effects.predicted)
    signed, size = region_credit(maps, effects.masks)
    rival, _ = region_credit(explain(effects.images, effects.rivals), effects.masks)
    found = _agreements(effects, signed, size, informative)
    found["contrast"] = contrast(signed[:, 2:] - rival[:, 2:], _differ(effects))
    found["spill"] = _spill(effects, explain, signed)
    return found, _pooled(effects, signed)


def _agreements(
    effects: Effects, signed: np.ndarray, size: np.ndarray, informative: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of each image, f64 [n]; nan where an image has none."""
    credit, whole = signed[:, 2:], size.sum(1)
    found = {
        "correctness": spearman(credit, effects.shapley),
        "swap": spearman(credit, effects.swap),
        "outside": _share(size[:, 0], whole),
    }
    if not informative.all():
        found["irrelevant"] = _share(size[:, 2:][:, ~informative].sum(1), size[:, 2:].sum(1))
    return found


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def contrast(difference: np.ndarray, differ: np.ndarray) -> np.ndarray:
    """How far parts that differ between two classes get more of the credit for one against the other; f64 [n].

    `2 P(d_i > d_j) - 1` over all pairs of a part i that differs and a part j that both share, equal ones half: 1 where
    all credit is where the classes differ, 0 by chance; nan where all parts differ or none does.

    >>> contrast(np.array([[3.0, 1.0, 0.0]]), np.array([[True, True, False]])).tolist()
    [1.0]
    """
    above = np.sign(difference[:, :, None] - difference[:, None])
    pairs = differ[:, :, None] & ~differ[:, None]
    count = pairs.sum((1, 2))
    return np.where(count > 0, (above * pairs).sum((1, 2)) / np.maximum(count, 1), np.nan)


def _differ(effects: Effects) -> np.ndarray:
    """bool [n,6]: the parts in which the predicted class and its rival differ."""
    return effects.classes[effects.predicted] != effects.classes[effects.rivals]


def _spill(effects: Effects, explain: Explain, signed: np.ndarray) -> np.ndarray:
    """f64 [n]: after a swap of one part, the share of the change in credit that other regions are given.

    nan where the swap changes no credit.
    """
    after, _ = region_credit(explain(effects.swapped, effects.predicted), effects.swapped_masks)
    change = np.abs(after - signed)
    own = change[np.arange(len(signed)), 2 + effects.swapped_part]
    return 1 - _share(own, change.sum(1))


def _pooled(effects: Effects, signed: np.ndarray) -> dict[str, Interval]:
    """The numbers of `POOLED`."""
    x, y = signed[:, 2:].ravel(), effects.remove.ravel()
    slope, explained = regression(x, y)
    background = spearman(signed[:, 0], effects.background).item()
    return {name: Interval(v, v, v) for name, v in zip(POOLED, (explained, slope, background))}


def regression(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and R^2 of the least squares line of y [n] on x [n]; zeros where x or y does not vary.

    >>> regression(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    (2.0, 1.0)
    """
    x, y = x - x.mean(), y - y.mean()
    if x @ x == 0 or y @ y == 0:
        return 0.0, 0.0
    return float(x @ y / (x @ x)), float((x @ y) ** 2 / ((x @ x) * (y @ y)))


def _intervals(effects: Effects, found: Mapping[str, np.ndarray], seed: int) -> dict[str, Interval]:
    """Means over images, with intervals by bootstrap over classes; scores that no image has are left out."""
    made = {}
    for name, values in found.items():
        known = np.isfinite(values)
        if known.any() and len(set(effects.labels[known])) > 1:
            made[name] = bootstrap_interval(values[known], effects.labels[known], seed, resamples=1000)
    return made
