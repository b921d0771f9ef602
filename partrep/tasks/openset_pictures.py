"""Test images that fooled a method: unknown ones that it knows best, and known ones that it knows least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from partrep.data.imageset import ImageSet
from partrep.evaluate.openset import most_unknown_part
from partrep.report.content import Fooled, Misjudged
from partrep.tasks.batches import spaced
from partrep.tasks.maps import Sampled, part_count
from partrep.tasks.openset import Openset
from partrep.tasks.openset_evaluation import CLASSES, Read, against
from partrep.train.state import Tree

SHOWN = 6
"""Images of each kind."""


def pictures(task: Openset, variables: Tree, read: Read, score: str) -> tuple[Fooled, ...]:
    """Of each kind of unknown test images those that score highest, and the known ones that score lowest.

    They are the first ones of an order by the score, so that none is chosen by eye.
    """
    data, scores = task.data, read.scores(score)
    unknown = np.concatenate([scores[kind] for kind in data.unknown])
    usual = None
    if part_count(task, variables) > 1:
        sample = spaced(data.validation, task.config["evaluation"]["discovery_images"])
        usual = against(task, variables, data.validation, sample)
    made = []
    for kind, images in data.unknown.items():
        chosen = np.argsort(-scores[kind], kind="stable")[:SHOWN]
        shares = [below(scores["known"], x) for x in scores[kind][chosen]]
        passed = [f"{100 * share:.0f} % of the known images score lower" for share in shares]
        drawn = judged(task, variables, images, chosen, read.logits[kind], passed, usual, kind in CLASSES)
        made.append(Fooled(f"{kind.capitalize()}, the best known first", drawn))
    chosen = np.argsort(scores["known"], kind="stable")[:SHOWN]
    shares = [below(-unknown, -x) for x in scores["known"][chosen]]
    failed = [f"{100 * share:.0f} % of the unknown images score higher" for share in shares]
    drawn = judged(task, variables, data.known, chosen, read.logits["known"], failed, usual, True)
    return (*made, Fooled("Known classes, the least known first", drawn))


def below(values: np.ndarray, limit: float) -> float:
    """The share of values under a limit.

    >>> below(np.array([1.0, 2.0, 3.0, 4.0]), 3.0)
    0.5
    """
    return float((values < limit).mean())


def judged(
    task: Openset,
    variables: Tree,
    images: ImageSet,
    chosen: np.ndarray,
    logits: np.ndarray,
    said: Sequence[str],
    usual: np.ndarray | None,
    of_classes: bool,
) -> tuple[Misjudged, ...]:
    """Some images of a set, with the class they were taken for and, of a model of parts, the most unknown part."""
    maps = Sampled(task, variables, images).at(chosen)
    parts = None if usual is None else most_unknown_part(against(task, variables, images, chosen), usual)
    return tuple(
        Misjudged(
            maps["image"][n],
            truth=name_of(images, images.labels[row]) if of_classes else "",
            taken=name_of(task.data.train, logits[row].argmax()),
            said=said[n],
            assignment=None if parts is None else maps["assignment"][n],
            part=None if parts is None else int(parts[n]),
        )
        for n, row in enumerate(chosen)
    )


def name_of(images: ImageSet, label: int) -> str:
    """The name of a class, "class 3" where it has none."""
    return images.names[label] if images.names else f"class {label + 1}"
