"""Whole maps of a sample of images, and how well the parts in them agree with the true ones."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from partrep.data import birds
from partrep.data.birds import Rendered
from partrep.data.imageset import Batch, ImageSet
from partrep.evaluate.discovery import Found, PartTruth, baselines, ceiling, discovery_table
from partrep.evaluate.predict import predict
from partrep.models import local_views
from partrep.models.outputs import PartOutputs
from partrep.report.content import Discovery, Score
from partrep.tasks.batches import eval_batches, spaced
from partrep.train.state import Tree

Maps = dict[str, Any]
CEILING = "ceiling"  # the true parts at the resolution of the map
TRUTH = ("part_mask", "keypoints", "visible", "box")  # what is kept of `Rendered`


class Task(Hashable, Protocol):
    """What maps are made with: a config with `evaluation` settings, and a model in evaluation mode."""

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def data(self) -> Any: ...

    def outputs(self, variables: Tree, images: jax.Array) -> PartOutputs: ...


MOST_SHARED = 64
"""With more parts than this they belong to classes: they are no parts that all images share."""


def part_count(task: Task, variables: Tree) -> int:
    """K of the part method."""
    size, channels = task.config["data"]["size"], task.data.channels
    shape = task.data.train.grid or (size, size, channels)
    return jax.eval_shape(task.outputs, variables, jnp.zeros((1, *shape))).codes.shape[1]


SomeTask = TypeVar("SomeTask", bound=Task)


def bird_truth(part_mask: np.ndarray, keypoints: np.ndarray, visible: np.ndarray, box: np.ndarray) -> PartTruth:
    """The true parts of rendered birds, of which `visible` f32 [n,P] is the visible share of each part."""
    return PartTruth(part_mask, keypoints, visible > 0.5, box, names=birds.PARTS)


@dataclasses.dataclass(frozen=True)
class Sampled(Generic[SomeTask]):
    """Maps of evenly spaced images of one set, computed when first read."""

    task: SomeTask
    variables: Tree
    images: ImageSet

    @property
    def indices(self) -> np.ndarray:
        """Which images: `discovery_images` of them, evenly spaced."""
        return spaced(self.images, self.task.config["evaluation"]["discovery_images"])

    @functools.cached_property
    def maps(self) -> Maps:
        """Of the images at `indices`."""
        return self.at(self.indices)

    def at(self, indices: np.ndarray) -> Maps:
        """Images, maps, local part vectors and, where known, the truth of the images at `indices`."""
        batches = eval_batches(self.images, self.task.config["evaluation"]["batch_size"], indices)
        maps = predict(_apply(self.task, self.images.decode, self.images.truth), self.variables, batches)
        return with_photos(maps, self.images, indices)

    @property
    def found(self) -> Found:
        """Where the model puts its parts."""
        return Found(self.maps["assignment"], self.maps["background"])

    @property
    def truth(self) -> PartTruth:
        """Where the true parts are."""
        return bird_truth(*(self.maps[name] for name in TRUTH))


def with_photos(maps: Maps, images: ImageSet, indices: np.ndarray) -> Maps:
    """Maps of the images at `indices` whose `image`, where the set holds features, is the photo they are of."""
    return maps if images.photos is None else {**maps, "image": images.photos(indices)}


@functools.cache
def _apply(task: Task, decode: Callable[..., jax.Array], render: Callable[[Batch], Rendered] | None):
    """The function that `predict` compiles; sets of one renderer share it."""

    def apply(variables: Tree, batch: Batch) -> Maps:
        truth = None if render is None else render(batch)
        image = decode(batch, None) if truth is None else truth.image
        outputs = task.outputs(variables, image)
        maps = {
            **({} if task.data.train.photos else {"image": image}),
            "label": batch["label"],
            "features": outputs.features.astype(jnp.float32),
            "assignment": outputs.parts.assignment,
            "background": outputs.parts.background,
            "presence": outputs.parts.presence,
            "parts": local_views.parts(outputs),
        }
        if truth is not None:
            maps |= {name: getattr(truth, name) for name in TRUTH}
        return maps

    return apply


def discovery_scores(train: Sampled, test: Sampled) -> dict[str, dict[str, float]]:
    """Part discovery scores of the model and of what needs no training, at equal numbers of regions; the ceiling."""
    found = {"model": (train.found, test.found)}
    found |= baselines(train.maps["features"], test.maps["features"], train.found, train.task.config["seed"])
    cells = test.maps["assignment"].shape[2:]
    best = {CEILING: (ceiling(train.truth, *cells), ceiling(test.truth, *cells))}
    table = discovery_table(found, train.truth, test.truth, groups=test.maps["label"])
    return table | discovery_table(best, train.truth, test.truth)


def flat_discovery(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """`{name: number}` of the scores of each method.

    >>> flat_discovery({"model": {"iou_mean": 0.5}})
    {'discovery/model/iou_mean': 0.5}
    """
    return {f"discovery/{method}/{name}": value for method, table in scores.items() for name, value in table.items()}


COLUMNS = {
    "NMI": ("nmi_foreground", "normalised mutual information of found and true parts over the pixels of true parts"),
    "ARI": ("ari_foreground", "adjusted Rand index over the same pixels: 0 is chance"),
    "AMI": ("ami_foreground", "mutual information adjusted for chance over the same pixels"),
    "AMI, all": ("ami_all", "the same over all pixels, body and background being labels too"),
    "keypoint error": ("keypoint_error", "of a linear regression from part centres, in per cent of the box's side"),
    "part IoU": ("iou_mean", "overlap with the true parts, matched one to one"),
}


def _intervals(scores: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """The columns that have an interval, by bootstrap over classes."""
    having = {column: key for column, (key, _) in COLUMNS.items() if f"{key}_low" in scores}
    return {column: (scores[f"{key}_low"], scores[f"{key}_high"]) for column, key in having.items()}


def discovery_page(
    table: Mapping[str, Mapping[str, float]], images: str = "the novel classes"
) -> Discovery | None:
    """The table as the report shows it; `images` says of which images it is."""
    if not table:
        return None
    rows = tuple(
        Score(name, {c: scores[k] for c, (k, _) in COLUMNS.items()}, _intervals(scores), reference=name == "model")
        for name, scores in table.items()
        if name != CEILING
    )
    best = table.get(CEILING)
    most = "True parts themselves, at the map's resolution, score AMI {ami_foreground:.2f} and part IoU {iou_mean:.2f}."
    return Discovery(
        rows,
        lower_is_better=frozenset({"keypoint error"}),
        descriptions={column: text for column, (_, text) in COLUMNS.items()},
        note=f"Images of {images}, equal numbers of regions for all; the baselines read the same features."
        + (" Intervals by bootstrap over classes." if any(row.intervals for row in rows) else "")
        + (" " + most.format(**best) if best else ""),
    )
