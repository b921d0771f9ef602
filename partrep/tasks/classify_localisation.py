"""Where a classifier of photos looks, against what annotators marked in them, beside maps that need no such model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from partrep.data.imageset import Batch
from partrep.discovery.kmeans import kmeans
from partrep.discovery.maps import border_part
from partrep.evaluate.discovery import Found, split
from partrep.evaluate.localisation import (
    LARGEST,
    LinearCam,
    Located,
    Target,
    centre,
    localisation_table,
    noise,
    targets_of,
)
from partrep.evaluate.predict import predict
from partrep.explain.contributions import level, location_contributions
from partrep.parts.gap import Gap
from partrep.report.content import Discovery, Score
from partrep.tasks.batches import eval_batches, spaced
from partrep.tasks.classify import Classify
from partrep.tasks.maps import MOST_SHARED, Sampled
from partrep.tasks.outcome import slug, with_interval
from partrep.train.state import Tree

MODEL, ALL, OWN, CAM = "model", "all parts", "location contributions", "CAM"
SCORES = {
    "pointing": "whether the centre of the strongest location lies on the {}; of several as strong, the share of them",
    "energy": "the share of the map's mass that lies on the {}",
    "iou": "overlap of the {} with the map cut at a share of its maximum",
    "iou_hard": "overlap of the {} with the pixels at which the chosen parts win over all others",
}
HEADINGS = {"pointing": "pointing", "energy": "energy", "iou": "IoU", "iou_hard": "IoU, winners"}
DESCRIBED = {
    ALL: "the model's parts together, its background left out: no mask chose them",
    OWN: "what each location adds to the predicted class",
    CAM: "of a linear classifier of the mean feature",
    "k-means": "of the features of training photos, as many regions",
    "noise": "maps drawn at random, as many parts",
    "centre": "a hill in the middle of every photo",
}


Methods = dict[str, tuple[Found, Found]]
"""Where each method puts its parts in the validation and in the test photos."""


class Localisation(NamedTuple):
    """What came out, and of how many photos."""

    table: dict[str, Located]
    validation: dict[str, int]
    """photos with each target"""
    test: dict[str, int]

    def flat(self) -> dict[str, float]:
        """`{name: number}`: localisation/METHOD/TARGET_SCORE with `_low` and `_high`."""
        made = {f"localisation/photos/{name}": float(count) for name, count in self.test.items()}
        for method, located in self.table.items():
            for what, interval in located.scores.items():
                made |= with_interval(f"localisation/{slug(method)}/{what}", interval)
        return made


def localise(task: Classify, variables: Tree, validation: Sampled, test: Sampled) -> Localisation | None:
    """The scores of the model and of the baselines; None where nothing is marked in the photos."""
    known = [_targets(sampled) for sampled in (validation, test)]
    if not all(known):
        return None
    table = localisation_table(_methods(task, variables, validation, test), *known)
    counts = [{name: int(target.known.sum()) for name, target in each.items()} for each in known]
    return Localisation(table, *counts) if any(located.scores for located in table.values()) else None


def _targets(sampled: Sampled) -> dict[str, Target]:
    truth = sampled.images.annotations(sampled.indices) if sampled.images.annotations else None
    return {} if truth is None else targets_of(truth, min(sampled.task.data.view.crop, LARGEST))


def _methods(task: Classify, variables: Tree, validation: Sampled, test: Sampled) -> Methods:
    """Where each method puts its parts in the photos of both sets."""
    made: Methods = {}
    (of_validation, of_test), seed = (validation.found, test.found), task.config["seed"]
    pooled = isinstance(task.model.method, Gap)  # whose one part is the whole photo
    parts, *cells = of_test.assignment.shape[1:]
    if parts <= MOST_SHARED and not pooled:
        made[MODEL] = of_validation, of_test
        if of_validation.background is not None and of_test.background is not None:
            made[ALL] = Found(1 - of_validation.background[:, None]), Found(1 - of_test.background[:, None])
    if level(task.model) == 2:
        # The class activation map of a model that pools by the mean is what its locations contribute.
        own = functools.partial(_contributions, task, variables)
        made[CAM if pooled else OWN] = own(validation), own(test)
    features = validation.maps["features"], test.maps["features"]
    if CAM not in made:
        made[CAM] = _linear_cams(task, variables, *features)
    if MODEL in made and of_test.regions > 1:
        made["k-means"] = _clusters(task, variables, of_test, *features)
    sizes = [(len(sampled.indices), tuple(cells)) for sampled in (validation, test)]
    drawn = [noise(count, parts, grid, seed + i) for i, (count, grid) in enumerate(sizes)]
    return {**made, "noise": (drawn[0], drawn[1]), "centre": (centre(*sizes[0]), centre(*sizes[1]))}


def _linear_cams(
    task: Classify, variables: Tree, validation: np.ndarray, test: np.ndarray
) -> tuple[Found, Found]:
    linear = LinearCam(_features(task, variables, True), task.data.train.labels)
    return linear(validation), linear(test)


def _clusters(
    task: Classify, variables: Tree, model: Found, validation: np.ndarray, test: np.ndarray
) -> tuple[Found, Found]:
    """As many regions as the model's, found in training photos; one of them is the background where it has one."""
    seen = _features(task, variables, False)
    finder = kmeans(seen, model.regions, task.config["seed"])
    border = border_part(finder(seen)) if model.background is not None else None
    return split(finder(validation), border), split(finder(test), border)


def _features(task: Classify, variables: Tree, pooled: bool) -> np.ndarray:
    """f32 [n,D], the mean features of all training photos, or [m,h,w,D], the maps of as many as are looked at."""
    images, settings = task.data.train, task.config["evaluation"]
    indices = None if pooled else spaced(images, settings["discovery_images"])
    batches = eval_batches(images, settings["batch_size"], indices)
    return np.asarray(predict(_featured(task, images.decode, pooled), variables, batches))


@functools.cache
def _featured(task: Classify, decode, pooled: bool):
    """The function that `predict` compiles."""

    def apply(variables: Tree, batch: Batch) -> jax.Array:
        features = task.outputs(variables, decode(batch, None)).features.astype(jnp.float32)
        return features.mean((1, 2)) if pooled else features

    return apply


def _contributions(task: Classify, variables: Tree, sampled: Sampled) -> Found:
    images, size = sampled.images, task.config["evaluation"]["batch_size"]
    maps = predict(_contributing(task, images.decode), variables, eval_batches(images, size, sampled.indices))
    return Found(maps[:, None])


@functools.cache
def _contributing(task: Classify, decode):
    """The function that `predict` compiles."""

    def apply(variables: Tree, batch: Batch) -> jax.Array:
        outputs = task.outputs(variables, decode(batch, None))
        assert outputs.logits is not None
        return location_contributions(task.model, variables, outputs, outputs.logits.argmax(-1)).sum(1)

    return apply


def localisation_page(found: Localisation) -> Discovery:
    """The table as the report shows it."""
    targets = list(next(iter(found.table.values())).choices)
    columns = {f"{t}_{s}": f"{t}, {HEADINGS[s]}" for t in targets for s in SCORES}
    own = next(name for name in (MODEL, OWN, CAM) if name in found.table)
    rows = tuple(_row(name, located, columns, name == own) for name, located in found.table.items())
    photos = ", ".join(f"{t}s of {found.test[t]} ({found.validation[t]})" for t in targets)
    note = (
        f"Test photos (validation photos): {photos}. For every method alike, one part, or of an object the "
        "parts that together overlap best, and the share of its maximum at which a map is cut are chosen on the "
        "validation photos. Noise cut low is the whole photo. Pixels that annotators left undecided count nowhere. "
        "Intervals by bootstrap over photos."
    )
    missing = [name for name in found.validation if name not in targets]
    if missing:
        note += f" No scores of the {', '.join(missing)}: no test photo of this split has it marked."
    text = {columns[f"{t}_{s}"]: SCORES[s].format(t) for t in targets for s in SCORES}
    return Discovery(rows, descriptions=text, note=note)


def _row(name: str, located: Located, columns: Mapping[str, str], reference: bool) -> Score:
    scores = {heading: located.scores[key] for key, heading in columns.items() if key in located.scores}
    note = DESCRIBED.get(name, "")
    if name == MODEL:
        note = "; ".join(_said(target, choice.parts) for target, choice in located.choices.items())
    return Score(
        name,
        {heading: interval.mean for heading, interval in scores.items()},
        {heading: (interval.low, interval.high) for heading, interval in scores.items()},
        note,
        reference,
    )


def _said(target: str, parts: tuple[int, ...]) -> str:
    """Which parts were chosen.

    >>> _said("head", (2,)), _said("object", (4, 0))
    ('head: part 3', 'object: parts 1, 5')
    """
    return f"{target}: part{'s' * (len(parts) > 1)} {', '.join(str(k + 1) for k in sorted(parts))}"
