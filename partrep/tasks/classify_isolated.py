"""What a model with an isolated read-out leaves to its masks: what they tell alone, and what isolation costs."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep.data.imageset import Batch, ImageSet
from partrep.evaluate.leakage import mask_leakage
from partrep.evaluate.predict import predict
from partrep.tasks.batches import eval_batches
from partrep.tasks.classify import Classify
from partrep.train.state import Tree


def isolation_scores(task: Classify, variables: Tree) -> dict[str, float]:
    """Accuracy on the test images of a classifier that sees the masks alone, and of the first stage's own read-out.

    The first is what the choice of the masks tells by itself, whatever they show; it is learned on the validation
    images, and is a lower bound. The second lacks where the first stage has no head.
    """
    learned, tested = (_seen(task, variables, images) for images in (task.data.validation, task.data.test))
    leak = mask_leakage(
        learned["masks"], learned["label"], tested["masks"], tested["label"], task.config["seed"]
    )
    made = {"isolation/leak": float(leak)}
    if "right" in tested:
        made["isolation/first_stage_accuracy"] = float(tested["right"].mean())
    return made


def _seen(task: Classify, variables: Tree, images: ImageSet) -> dict[str, np.ndarray]:
    batches = eval_batches(images, task.config["evaluation"]["batch_size"])
    return predict(_apply(task, images.decode), variables, batches)


@functools.cache
def _apply(task: Classify, decode):
    """The function that `predict` compiles; sets of one renderer share it."""

    def apply(variables: Tree, batch: Batch) -> dict[str, Any]:
        outputs = task.outputs(variables, decode(batch, None))
        masks, background = outputs.parts.assignment, outputs.parts.background
        if background is not None:
            masks = jnp.concatenate([masks, background[:, None]], axis=1)
        made: dict[str, jax.Array] = {"masks": masks, "label": batch["label"]}
        if outputs.proposal_logits is not None:
            made["right"] = outputs.proposal_logits.argmax(-1) == batch["label"]
        return made

    return apply
