"""What a finished classifier answers to labelled images: photos in class folders, or the test images of its own run.

In: a finished run. Out: `Answers`, which `evaluate.classification` scores.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.data.decode import View
from partrep.data.imageset import Batch
from partrep.data.photos import PhotoSet, from_folder
from partrep.evaluate.classification import Answers, gathered
from partrep.evaluate.predict import pad
from partrep.explain.contributions import level
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import outputs_of
from partrep.tasks.batches import eval_batches
from partrep.tasks.classify import LOGITS, Classify
from partrep.tasks.finished import Finished
from partrep.train.state import Tree

BATCH = 64
NAMED = 5
"""Folders that a message names at most."""


def open_photos(path: pathlib.Path, classes: tuple[str, ...]) -> PhotoSet:
    """Photos in folders, a zip or tar whose folders are named as classes of a model; not all of them need be there.

    Raises:
        UserError: as `photos.from_folder`, and folders that are no class.
    """
    photos = from_folder(path)
    if unknown := [name for name in photos.classes if name not in classes]:
        listed = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        known = ", ".join(classes[:NAMED]) + (", ..." if len(classes) > NAMED else "")
        found = f"{len(unknown)} of {len(photos.classes)} folders that are no class of the model ({listed})"
        raise UserError(f"{path} has {found}; expected some of its {len(classes)} classes: {known}")
    return photos


def on_photos(finished: Finished, photos: PhotoSet) -> Answers:
    """The answers to photos, each cut out as the model was shown its own.

    Raises:
        UserError: a photo that cannot be read, by its name.
    """
    classes = finished.card.classes
    number = np.array([classes.index(name) for name in photos.classes], np.int32)
    found = batches(photos, finished.view, number[photos.labels])
    return gathered(answering(finished, _of_photos(finished)), found, classes, transform(finished))


def on_test_set(finished: Finished, task: Classify) -> Answers:
    """The answers to the test images of the run that `task` is; `count_test_evaluations` is to be told first."""
    images = task.data.test

    def outputs(variables: Tree, batch: Batch) -> PartOutputs:
        return task.outputs(variables, images.decode(batch, None))

    found = eval_batches(images, task.config["evaluation"]["batch_size"])
    return gathered(answering(finished, outputs), found, finished.card.classes, transform(finished))


def transform(finished: Finished) -> Callable[[np.ndarray], np.ndarray]:
    """What a softmax reads of the model's logits."""
    return lambda logits: np.asarray(LOGITS[finished.card.logits](jnp.asarray(logits)))


def batches(photos: PhotoSet, view: View, labels: np.ndarray) -> Iterator[Batch]:
    """Batches of one shape, `photos` u8 [b,S,S,3], `label` and `valid`; the next is read while one is in use."""
    with ThreadPoolExecutor() as pool:

        def start(first: int) -> Iterator[np.ndarray]:
            indices = range(first, min(first + BATCH, len(photos)))
            return pool.map(lambda index: photos.photo(index, view), indices)

        ahead = start(0)
        for first in range(0, len(photos), BATCH):
            seen, ahead = np.stack(list(ahead)), start(first + BATCH)
            batch = {"photos": seen, "label": labels[first : first + BATCH], "valid": np.ones(len(seen), bool)}
            yield pad(batch, BATCH)


def _of_photos(finished: Finished) -> Callable[[Tree, Batch], PartOutputs]:
    def outputs(variables: Tree, batch: Batch) -> PartOutputs:
        return outputs_of(finished.model, variables, batch["photos"].astype(jnp.float32) / 255.0)

    return outputs


def answering(
    finished: Finished, outputs: Callable[[Tree, Batch], PartOutputs]
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """batch -> what `gathered` keeps of it; contributions [b,K,C] are summed before they leave the device."""
    additive = level(finished.model) > 0

    @jax.jit
    def answer(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
        made = outputs(variables, batch)
        assert made.logits is not None and made.contributions is not None
        if not additive:
            return {"logits": made.logits}
        taken = made.logits.argmax(-1)[:, None, None]
        own = jnp.take_along_axis(made.contributions, taken, axis=2)[..., 0]
        total = jnp.where(batch["valid"][:, None, None], made.contributions, 0.0).sum(0)
        return {"logits": made.logits, "own": own, "total": total}

    return lambda batch: answer(finished.variables, dict(batch))
