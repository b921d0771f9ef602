"""The predictions a classification report draws: what each part added to the score of the likely classes."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from partrep.data.imageset import Batch, ImageSet
from partrep.evaluate.predict import predict
from partrep.report.content import EpisodePicture, Painting
from partrep.tasks.batches import eval_batches, spaced
from partrep.tasks.classify import LOGITS, Classify
from partrep.tasks.maps import with_photos
from partrep.train.state import Tree

Pictures = tuple[EpisodePicture, ...]
CANDIDATES = 4  # classes shown beside an image
SEARCHED = 40  # images looked at for each one drawn


def pictures(task: Classify, variables: Tree, most: int) -> tuple[Pictures, Pictures]:
    """(right, wrong): evenly spaced test images, up to `most` of either kind."""
    if not most:
        return (), ()
    seen = look(task, variables, task.data.test, spaced(task.data.test, SEARCHED * most))
    right = np.flatnonzero(seen["logits"].argmax(1) == seen["label"])
    wrong = np.flatnonzero(seen["logits"].argmax(1) != seen["label"])
    examples = look(task, variables, task.data.validation, _first_of_each_class(task.data.validation))
    drawn = [[draw(task, seen, int(i), examples) for i in _spread(kind, most)] for kind in (right, wrong)]
    return tuple(drawn[0]), tuple(drawn[1])


def look(task: Classify, variables: Tree, images: ImageSet, indices: np.ndarray) -> dict[str, Any]:
    """Images, maps, logits and contributions of the images at `indices`."""
    batches = eval_batches(images, task.config["evaluation"]["batch_size"], indices)
    return with_photos(predict(_look(task, images.decode), variables, batches), images, indices)


@functools.cache
def _look(task: Classify, decode):
    """The function that `predict` compiles; sets of one renderer share it."""

    def apply(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
        image = decode(batch, None)
        outputs = task.outputs(variables, image)
        assert outputs.logits is not None and outputs.contributions is not None
        return {
            **({} if task.data.train.photos else {"image": image}),
            "label": batch["label"],
            "assignment": outputs.parts.assignment,
            "logits": outputs.logits,
            "contributions": outputs.contributions,
        }

    return apply


def paintings(task: Classify, variables: Tree, most: int) -> tuple[Painting, ...]:
    """Up to `most` evenly spaced test images and how a model with a decoder paints them; none without one."""
    if not most or task.model.decoder is None:
        return ()
    images = task.data.test
    batches = eval_batches(images, task.config["evaluation"]["batch_size"], spaced(images, most))
    found = predict(_paint(task, images.decode), variables, batches)
    return tuple(Painting(**{name: array[i] for name, array in found.items()}) for i in range(len(found["image"])))


@functools.cache
def _paint(task: Classify, decode):
    """The function that `predict` compiles."""

    def apply(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
        image = decode(batch, None)
        made = task.outputs(variables, image).reconstruction
        assert made is not None
        return {"image": image, "painted": made.image, "shares": made.shares, "layers": made.layers}

    return apply


def draw(task: Classify, seen: dict[str, Any], i: int, examples: dict[str, Any]) -> EpisodePicture:
    """One image beside an example of each of its likeliest classes, the true one among them.

    Probabilities are over all classes, as the cross entropy of the run has them.
    """
    logits, label = seen["logits"][i], int(seen["label"][i])
    likely = [int(c) for c in np.argsort(-logits, kind="stable")[:CANDIDATES]]
    chosen = likely if label in likely else [*likely[:-1], label]
    contributions = seen["contributions"][i][:, chosen].T
    bias = logits[chosen] - contributions.sum(1)
    return EpisodePicture(
        support=examples["image"][chosen],
        query=seen["image"][i],
        support_assignment=examples["assignment"][chosen],
        query_assignment=seen["assignment"][i],
        logits=logits[chosen],
        probabilities=np.asarray(jax.nn.softmax(LOGITS[task.config["logits"]](logits)))[chosen],
        label=chosen.index(label),
        contributions=contributions,
        terms={"bias": bias} if np.abs(bias).max() > 1e-4 else {},
        class_names=tuple(task.data.test.names[c] for c in chosen),
    )


def _first_of_each_class(images: ImageSet) -> np.ndarray:
    return np.unique(images.labels, return_index=True)[1]


def _spread(indices: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the indices, evenly spaced."""
    return indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)] if len(indices) else indices
