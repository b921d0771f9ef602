"""What a few-shot run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from partrep import UserError, lookup
from partrep.data.runs import OneShotRuns
from partrep.evaluate.discovery import refuse_small_parts
from partrep.evaluate.readers import PAIR_PARTS, READER_HEADS
from partrep.models import local_views
from partrep.tasks import fewshot, readers
from partrep.tasks.batches import spaced
from partrep.tasks.check import check_numbers, trace_stages
from partrep.tasks.fewshot import Fewshot
from partrep.tasks.maps import TRUTH, bird_truth
from partrep.tasks.readers import DENSE, GRID, KMEANS, PARTS, POOLED
from partrep.train.state import TrainState

READERS = (PARTS, POOLED, DENSE, GRID, KMEANS)
SURE_GRID = 16  # cells on a side from which on the parts of birds are known to be large enough (BIRDS version 2)
DATA = {
    "birds": ("world", "level", "images", "size"),
    "omniglot": ("dir", "background", "augmentation", "size", "stored", "validate", "warp"),
    "vinyals": ("dir", "size", "stored", "class_seed", "warp"),
    "folder": ("dir", "augmentation", "size", "stored", "class_seed", "warp"),
    "tfds": ("dataset", "split", "dir", "augmentation", "size", "stored", "class_seed", "warp"),
}
AUGMENTATIONS = {
    "omniglot": ("none", "geometric", "rotated", "invented"),
    "folder": ("none", "geometric"),
    "tfds": ("none", "geometric"),
}
def check_settings(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` at the first number of the config that no run can have."""
    check_numbers(config)
    data = config["data"]
    if missing := [name for name in DATA.get(data["name"], ()) if name not in data]:
        raise UserError(f"data {data['name']!r} needs config.data.{missing[0]}; expected a preset that has it")
    where = "dataset" if data["name"] == "tfds" else "dir"  # TFDS has a folder of its own where none is given
    if data.get(where, "given") == "":
        meant = "NAME as TFDS spells it" if where == "dataset" else f"PATH of the {data['name']} data"
        raise UserError(f"config.data.{where} is empty; expected --config.data.{where}={meant}")
    if config["evaluation"]["episodes"] < 2:
        raise UserError("config.evaluation.episodes is 1; expected at least 2, for an interval")
    for name, kind in config["evaluation"].get("further", {}).items():
        if kind["episodes"] < 2:
            raise UserError(f"config.evaluation.further.{name}.episodes is 1; expected at least 2, for an interval")
    check_augmentation(config)


def check_augmentation(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` where the augmentation is none that the data has, or not the one of the stages."""
    data = config["data"]
    if data["name"] not in AUGMENTATIONS:
        return
    found, known = data["augmentation"], AUGMENTATIONS[data["name"]]
    if found not in known:
        raise UserError(f"config.data.augmentation is {found!r}; expected one of {', '.join(known)}")
    if (found == "invented") != ("pairs" in config["stages"]):
        stages = ", ".join(config["stages"])
        raise UserError(
            f"config.data.augmentation is {found!r} with the stages {stages}; expected them to fit, as "
            "--config=configs/fewshot.py:PRESET,augmentation=... makes them"
        )


def check_task(task: Fewshot) -> None:
    """Draws an episode of each set and traces the steps and the readers; raises what they would raise."""
    evaluation = task.config["evaluation"]
    for images in (task.data.validation, task.data.novel):
        if images is not None:
            fewshot.sampler(images, evaluation, seed=0)
    for kind in evaluation.get("further", {}).values():
        assert task.data.novel is not None  # no preset without novel classes has any
        fewshot.sampler(task.data.novel, kind, seed=0)
    if task.data.novel is None:
        OneShotRuns(task.config["data"]["dir"], task.config["data"]["stored"])
        lookup(dict.fromkeys(READERS), evaluation["reader"], "reader")
    for name in evaluation["heads"]:
        lookup(READER_HEADS, name, "head of a reader")
    trace_readers(task, trace_stages(fewshot.stages(task), task.init, task.config))


def trace_readers(task: Fewshot, state: TrainState) -> None:
    """Traces the local vectors of one image, in evaluation mode; true parts must be larger than the map's cells."""
    images = task.data.held_out
    views = (task.view, local_views.pooled, readers.dense_view(task.config["evaluation"]["dense"] ** 2))

    def apply(variables, batch):
        outputs = task.outputs(variables, images.decode(batch, None))
        return outputs, [view(outputs) for view in views]

    outputs, _ = jax.eval_shape(apply, state.eval_variables, images.load(np.zeros(1, np.int64)))
    parts, *grid = outputs.parts.assignment.shape[1:]
    if parts > 1 and not readers.head_names(task, PARTS) and not readers.trains_head(task):
        heads = ", ".join(task.config["evaluation"]["heads"])
        known = "; ".join(PAIR_PARTS)
        raise UserError(f"config.evaluation.heads are {heads}; expected one for the parts too: {known}")
    if parts > 1 and images.truth is not None and min(grid) < SURE_GRID:
        drawn = jax.device_get(jax.jit(images.truth)(images.load(spaced(images, 98))))
        refuse_small_parts(bird_truth(*(getattr(drawn, name) for name in TRUTH)), tuple(grid))
    reader = task.config["evaluation"].get("reader", POOLED)
    if parts == 1 and reader not in (POOLED, DENSE):
        raise UserError(f"config.evaluation.reader is {reader!r}, the model has one part; expected {POOLED} or {DENSE}")
