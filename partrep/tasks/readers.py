"""The readers of one network that a few-shot run compares: parts, and what else its map could be read as."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from partrep.data.imageset import ImageSet
from partrep.discovery.kmeans import fit_kmeans
from partrep.evaluate.fewshot import (
    Episodes,
    EpisodeScores,
    coarsen,
    compact,
    draw_episodes,
    episode_accuracy,
    nearest_neighbour,
)
from partrep.evaluate.readers import CHOICES, PAIR_PARTS, READER_HEADS, Reading, read
from partrep.models import local_views
from partrep.models.local import Local
from partrep.models.outputs import PartOutputs
from partrep.tasks.batches import spaced
from partrep.tasks.fewshot import Fewshot, View, Views, locals_of, sampler
from partrep.train import sharding
from partrep.train.state import Tree

RAW, UNTRAINED = "raw pixels", "untrained model"
PARTS, POOLED, DENSE, GRID, KMEANS = "parts", "global pooling", "dense locations", "fixed grid", "k-means parts"
TRAINED = "trained head"
NOTES = {
    RAW: "nearest neighbour by correlation of the pixels",
    UNTRAINED: "the same network before its first step",
    PARTS: "same part meets same part",
    POOLED: "mean over all locations of the same network",
    DENSE: "locations of the same network (of a large map, blocks of 2x2), each by itself",
    GRID: "fixed cells of the same network's map",
    KMEANS: "clusters of the same network's features",
    TRAINED: "the head of the episodic stage on the vectors it was trained on",
}
FURTHER = (PARTS, POOLED)  # the readers that are scored on further kinds of episodes
VALIDATION_SEED, NOVEL_SEED = 1, 2
STATISTICS = 980  # images of base classes that mean and spread are taken over


def views(task: Fewshot, parts: int, features: np.ndarray) -> dict[str, View]:
    """The views compared on one network; of one with a single part, only those that are not the same as another.

    `features` [n,h,w,D], of images of the base classes, are what the k-means parts are fitted on.
    """
    made: dict[str, View] = {POOLED: local_views.pooled, DENSE: dense_view(task.config["evaluation"]["dense"] ** 2)}
    if parts > 1:
        centroids = jnp.asarray(fit_kmeans(features, parts, task.config["seed"]))
        made[GRID] = functools.partial(local_views.grid, cells=max(2, round(parts**0.5)))
        made[KMEANS] = functools.partial(local_views.nearest_centroid, centroids=centroids)
        made[PARTS] = local_views.parts
    if trains_head(task) and task.config["head"]["view"] != "parts":
        made[TRAINED] = task.view
    return made


def dense_view(most: int) -> View:
    """All locations, halved until at most `most` are left."""

    def view(outputs: PartOutputs) -> Local:
        return coarsen(local_views.dense(outputs), most)

    return view


def choices(task: Fewshot, variables: Tree, reader: str) -> Mapping[str, functools.partial]:
    """The heads a reader tries on validation; parts may have a head that was trained with them."""
    tried: dict[str, functools.partial] = {name: READER_HEADS[name] for name in head_names(task, reader)}
    if reader == TRAINED or (reader == PARTS and trains_head(task) and task.config["head"]["view"] == "parts"):
        tried[f"trained {task.config['head']['name']}"] = task.bound_head(variables)
    return tried


def head_names(task: Fewshot, reader: str) -> list[str]:
    """The names of `READER_HEADS` that a reader tries; parts those that can be drawn from part k to part k."""
    names = task.config["evaluation"]["heads"] or CHOICES
    return [name for name in names if reader != TRAINED and (reader != PARTS or name in PAIR_PARTS)]


def trains_head(task: Fewshot) -> bool:
    """Whether an episodic stage trains a head."""
    return bool(task.config["stages"].get("episodes", {}).get("steps"))


def pairing(task: Fewshot, variables: Tree, name: str, head: functools.partial) -> dict[str, Any] | None:
    """The keyword settings with which `aligned_contributions` explains the head that parts chose.

    None where it does not pair part k with part k: its logits are no sum over parts.
    """
    if "trained" not in name:
        return head.keywords
    if task.config["head"]["name"] != "aligned":
        return None
    return {**task.head_settings, "params": variables["params"]["head"]}


def validation_episodes(task: Fewshot) -> Episodes:
    """The episodes that choose each reader's head."""
    assert task.data.validation is not None
    settings = task.config["evaluation"]
    return draw_episodes(sampler(task.data.validation, settings, VALIDATION_SEED), settings["validation_episodes"])


def novel_episodes(task: Fewshot) -> Episodes:
    """The episodes that are reported, the same ones for every reader, run and seed."""
    assert task.data.novel is not None
    settings = task.config["evaluation"]
    return draw_episodes(sampler(task.data.novel, settings, NOVEL_SEED), settings["episodes"])


def further_episodes(task: Fewshot) -> dict[str, Episodes]:
    """Further kinds of novel episodes by name, such as those of classes that are alike."""
    assert task.data.novel is not None
    kinds = task.config["evaluation"].get("further", {}).items()
    return {
        name: draw_episodes(sampler(task.data.novel, settings, NOVEL_SEED), settings["episodes"])
        for name, settings in kinds
    }


class Embedded(NamedTuple):
    """The local vectors of a network by reader, and the episodes with indices into them.

    `base`: of some images of base classes; `validation`, `novel`: of the images that episodes use.
    """

    base: Mapping[str, Local]
    validation: Mapping[str, Local]
    novel: Mapping[str, Local]
    choosing: Episodes
    reported: Episodes
    further: Mapping[str, Episodes]
    fingerprint: str
    """of the reported episodes as they were drawn"""


def embed(
    task: Fewshot, variables: Tree, compared: Mapping[str, View], drawn: Episodes, further: Mapping[str, Episodes]
) -> Embedded:
    """Reads each image once, in one program for all views and for the pixels themselves.

    `drawn`: the novel episodes that are reported; `further`: more kinds of them.
    """
    assert task.data.validation is not None and task.data.novel is not None
    held_out, views = task.data.held_out, (*compared.items(), (RAW, None))
    base = locals_of(task, variables, held_out, views, spaced(held_out, STATISTICS))
    validation, (choosing,) = _of_episodes(task, variables, views, task.data.validation, [validation_episodes(task)])
    novel, (reported, *others) = _of_episodes(task, variables, views, task.data.novel, [drawn, *further.values()])
    return Embedded(base, validation, novel, choosing, reported, dict(zip(further, others)), drawn.fingerprint)


def read_all(task: Fewshot, variables: Tree, vectors: Embedded, names: Sequence[str]) -> dict[str, Reading]:
    """Each reader's head chosen on the validation classes, and its scores on the novel ones."""
    episodes = vectors.choosing, vectors.reported

    def one(name: str) -> Reading:
        sets = vectors.base[name], vectors.validation[name], vectors.novel[name]
        further = vectors.further if name in FURTHER else {}
        reading = read(*sets, episodes, choices(task, variables, name), further)
        return reading._replace(scores=reading.scores._replace(fingerprint=vectors.fingerprint))

    with ThreadPoolExecutor(sharding.cpu_cores()) as pool:  # most of the time is compiling, one program at a time
        return dict(zip(names, pool.map(one, names)))


def raw_pixels(vectors: Embedded) -> EpisodeScores:
    """The scores of nearest neighbours by the pixels, which have no head to choose."""
    scores = episode_accuracy(vectors.novel[RAW], vectors.reported, nearest_neighbour)
    return scores._replace(fingerprint=vectors.fingerprint)


def _of_episodes(
    task: Fewshot, variables: Tree, views: Views, images: ImageSet, sets: Sequence[Episodes]
) -> tuple[dict[str, Local], list[Episodes]]:
    """Each view of the images that the sets of episodes use, and the sets with indices into those."""
    used, counted = compact(*sets)
    return locals_of(task, variables, images, views, used), counted
