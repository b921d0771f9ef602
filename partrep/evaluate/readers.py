"""Several ways to read one model's images, each with its best few-shot head, on the same episodes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from partrep.evaluate.fewshot import Episodes, EpisodeScores, episode_accuracy
from partrep.models.heads.aligned import aligned
from partrep.models.heads.mutual import mutual
from partrep.models.heads.prototypes import prototypes
from partrep.models.local import Local

# The settings that every reader tries on validation episodes: the same ones for all.
CHOICES: dict[str, functools.partial] = {
    "mean": functools.partial(prototypes, distance="cosine"),
    "aligned": functools.partial(aligned, geometry=0.0),
    "aligned, placed": functools.partial(aligned, geometry=2.0),
    "mutual": functools.partial(mutual, geometry=0.0),
    "mutual, placed": functools.partial(mutual, geometry=1.0),
}


class Reading(NamedTuple):
    """A reader's scores on the novel episodes, and the head that validation chose for it."""

    head_name: str
    head: functools.partial
    vectors: int
    validation: float
    scores: EpisodeScores


def read(
    validation: Local, novel: Local, episodes: tuple[Episodes, Episodes], choices: Mapping[str, functools.partial] = CHOICES
) -> Reading:
    """Chooses a head on validation episodes, the first of equals, and scores it once on the novel ones.

    Args:
        validation, novel: one reader's local vectors of all images of either set.
        episodes: (of the validation set, of the novel set).
        choices: heads by name. One vector an image is compared by its cosine alone: the others reduce to it.
    """
    vectors = novel.weights.shape[-1]
    if vectors == 1:
        choices = {"mean": CHOICES["mean"]}
    accuracy = {name: episode_accuracy(validation, episodes[0], head).interval.mean for name, head in choices.items()}
    best = max(accuracy, key=lambda name: accuracy[name])
    scores = episode_accuracy(novel, episodes[1], choices[best])
    return Reading(best, choices[best], vectors, accuracy[best], scores)
