"""Several ways to read one model's images, each with its best few-shot head, on the same episodes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from partrep.evaluate.fewshot import Episodes, EpisodeScores, episode_accuracy
from partrep.models.heads.aligned import aligned
from partrep.models.heads.mutual import mutual
from partrep.models.heads.prototypes import prototypes
from partrep.models.local import Local

# The heads that every reader tries on validation episodes: the same ones for all.
CHOICES: dict[str, functools.partial] = {
    "mean": functools.partial(prototypes, distance="cosine"),
    "aligned": functools.partial(aligned, geometry=0.0),
    "aligned by length": functools.partial(aligned, geometry=0.0, weighting="length"),
    "aligned, placed": functools.partial(aligned, geometry=2.0, weighting="length"),
    "mutual": functools.partial(mutual, geometry=0.0),
}


class Reading(NamedTuple):
    """A reader's scores on the novel episodes, and the head that validation chose for it.

    `centre` [r,D] was taken off its vectors first, where that helped on validation; otherwise zeros.
    """

    head_name: str
    head: functools.partial
    centre: jax.Array
    vectors: int
    validation: float
    scores: EpisodeScores


class Choice(NamedTuple):
    """What validation chose: a head, what to take off the vectors first, and the accuracy there."""

    name: str
    head: functools.partial
    centre: jax.Array
    accuracy: float


def mean_vector(local: Local) -> jax.Array:
    """The mean over images of each local vector, f32 [r,D], weighted as the vectors are."""
    weights = local.weights[..., None]
    return (local.vectors * weights).sum(0) / jnp.maximum(weights.sum(0), 1e-6)


def choose(
    base: Local, validation: Local, episodes: Episodes, choices: Mapping[str, functools.partial] = CHOICES
) -> Choice:
    """The best of all heads on validation episodes, on vectors as they are and less their mean over base images.

    One vector an image has its cosine alone: the other heads reduce to it.
    """
    if validation.weights.shape[-1] == 1:
        choices = {"mean": CHOICES["mean"]}
    mean = mean_vector(base)
    tried = []
    for prefix, centre in (("", jnp.zeros_like(mean)), ("centred, ", mean)):
        moved = less(validation, centre)
        for name, head in choices.items():
            accuracy = episode_accuracy(moved, episodes, head).interval.mean
            tried.append(Choice(prefix + name, head, centre, accuracy))
    return max(tried, key=lambda choice: choice.accuracy)


def less(local: Local, centre: jax.Array) -> Local:
    """The local vectors less `centre` [r,D]."""
    return local.replace(vectors=local.vectors - centre)  # type: ignore[attr-defined]


def read(
    base: Local,
    validation: Local,
    novel: Local,
    episodes: tuple[Episodes, Episodes],
    choices: Mapping[str, functools.partial] = CHOICES,
) -> Reading:
    """Chooses a head on validation episodes, the first of equals, and scores it once on the novel ones.

    Args:
        base, validation, novel: one reader's local vectors of all images of either set.
        episodes: (of the validation set, of the novel set).
        choices: heads by name.
    """
    chosen = choose(base, validation, episodes[0], choices)
    scores = episode_accuracy(less(novel, chosen.centre), episodes[1], chosen.head)
    return Reading(chosen.name, chosen.head, chosen.centre, novel.weights.shape[-1], chosen.accuracy, scores)
