"""Several ways to read one model's images, each with its best few-shot head, on the same episodes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from partrep.evaluate.fewshot import Episodes, EpisodeScores, episode_accuracy
from partrep.evaluate.views import averaged
from partrep.models.heads import FEWSHOT_HEADS
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
# Those that a config may name besides, without anything learned; the costlier ones fit every episode anew.
READER_HEADS: dict[str, functools.partial] = CHOICES | {
    name: functools.partial(FEWSHOT_HEADS[name])
    for name in ("matching", "frn", "ctx", "deepemd", "baseline++", "linear")
}
# In these part k meets part k; the others forget which part is which.
PAIR_PARTS = ("aligned", "aligned by length", "aligned, placed")


class Standard(NamedTuple):
    """What a reader takes off its vectors, and what it divides them by: f32 [r,D] each."""

    centre: jax.Array
    spread: jax.Array


class Reading(NamedTuple):
    """A reader's scores on the novel episodes, with the head and the standard that validation chose for it.

    `further`: its scores on further kinds of episodes, by name, with the same head and standard.
    """

    head_name: str
    head: functools.partial
    standard: Standard
    vectors: int
    validation: float
    scores: EpisodeScores
    further: Mapping[str, EpisodeScores]


class Choice(NamedTuple):
    """What validation chose: the head of one view, how its vectors are standardised first, and the accuracy there."""

    name: str
    head: functools.partial
    standard: Standard
    accuracy: float


@jax.jit
def standards(base: Local) -> dict[str, Standard]:
    """The three ways to read vectors, by what goes before a head's name: as they are, centred, standardised.

    The statistics are over base images [n,r,D], each vector counted by its weight.
    """
    weights = base.weights[..., None]
    total = jnp.maximum(weights.sum(0), 1e-6)
    mean = (base.vectors * weights).sum(0) / total
    variance = ((base.vectors - mean) ** 2 * weights).sum(0) / total
    zero, one = jnp.zeros_like(mean), jnp.ones_like(mean)
    return {
        "": Standard(zero, one),
        "centred, ": Standard(mean, one),
        "standardised, ": Standard(mean, jnp.sqrt(variance + 1e-6)),
    }


@jax.jit
def standardise(local: Local, standard: Standard) -> Local:
    """The local vectors [...,r,D] less the centre, over the spread."""
    vectors = (local.vectors - standard.centre) / standard.spread
    return local.replace(vectors=vectors)  # type: ignore[attr-defined]


def choose(
    base: Local,
    validation: Local,
    episodes: Episodes,
    choices: Mapping[str, functools.partial] = CHOICES,
    views: int = 1,
) -> Choice:
    """The best of all heads on validation episodes, on vectors in each of the `standards` of base images.

    Of several `views` of an image (`evaluate.views.join`), each is read by itself and the logits are averaged. One
    vector a view has its cosine alone: the other heads of `CHOICES` reduce to it.
    """
    if validation.weights.shape[-1] == views and set(choices) & set(CHOICES):
        choices = {"mean": CHOICES["mean"]} | {n: head for n, head in choices.items() if n not in CHOICES}
    tried = []
    for prefix, standard in standards(base).items():
        moved = standardise(validation, standard)
        for name, head in choices.items():
            scored = averaged(head, views) if views > 1 else head
            accuracy = episode_accuracy(moved, episodes, scored).interval.mean
            tried.append(Choice(prefix + name, head, standard, accuracy))
    return max(tried, key=lambda choice: choice.accuracy)


def read(
    base: Local,
    validation: Local,
    novel: Local,
    episodes: tuple[Episodes, Episodes],
    choices: Mapping[str, functools.partial] = CHOICES,
    further: Mapping[str, Episodes] = MappingProxyType({}),
) -> Reading:
    """Chooses a head on validation episodes, the first of equals, and scores it once on the novel ones.

    Args:
        base, validation, novel: one reader's local vectors of all images of either set.
        episodes: (of the validation set, of the novel set).
        choices: heads by name.
        further: more kinds of novel episodes to score it on, by name.
    """
    chosen = choose(base, validation, episodes[0], choices)
    vectors, moved = novel.weights.shape[-1], standardise(novel, chosen.standard)
    scores = episode_accuracy(moved, episodes[1], chosen.head)
    others = {name: episode_accuracy(moved, more, chosen.head) for name, more in further.items()}
    return Reading(chosen.name, chosen.head, chosen.standard, vectors, chosen.accuracy, scores, others)
