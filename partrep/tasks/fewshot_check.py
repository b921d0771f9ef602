"""What a few-shot run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from partrep.tasks.fewshot import Fewshot
from partrep.tasks.maps import TRUTH, bird_truth
from partrep.tasks.readers import DENSE, GRID, KMEANS, PARTS, POOLED
from partrep.train import sharding
from partrep.train.loop import Settings, abstract_state
from partrep.train.settings import from_mapping
from partrep.train.stages import Stage, check_stages
from partrep.train.state import TrainState

READERS = (PARTS, POOLED, DENSE, GRID, KMEANS)
SURE_GRID = 16  # cells on a side from which on the parts of birds are known to be large enough (BIRDS version 2)
DTYPES = ("auto", "float32", "bfloat16", "float16")
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
LEAST = {
    "seed": 0,
    "world": 0,
    "class_seed": 0,
    "size": 1,
    "stored": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "keep": 1,
    "validate_every": 0,
    "steps": 0,
    "batch_size": 1,
    "episodes": 1,
    "validation_episodes": 2,
    "dense": 1,
    "discovery_images": 1,
    "warps": 0,
    "pictures": 0,
}


def check_settings(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` at the first number of the config that no run can have."""
    for path, value in leaves(config):
        least = LEAST.get(path.rsplit(".", 1)[-1])
        if least is not None and value < least:
            raise UserError(f"config.{path} is {value}; expected at least {least}")
        if path.endswith("seed") and value >= 2**32:
            raise UserError(f"config.{path} is {value}; expected at most {2**32 - 1}")
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
    if not 0 <= config["label_smoothing"] < 1:
        raise UserError(f"config.label_smoothing is {config['label_smoothing']}; expected at least 0 and under 1")
    check_augmentation(config)
    check_best(config["train"])
    if config["dtype"] not in DTYPES:
        raise UserError(f"config.dtype is {config['dtype']!r}; expected one of {', '.join(DTYPES)}")


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


def check_best(train: Mapping[str, Any]) -> None:
    """Raises a `UserError` where the best state is to be evaluated by a number that no validation makes."""
    best = train.get("best", "")
    if best and best != "validation/accuracy":
        raise UserError(f"config.train.best is {best!r}; expected '' or 'validation/accuracy'")
    if best and not train.get("validate_every"):
        raise UserError("config.train.best needs validations; expected --config.train.validate_every=STEPS besides")


def leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested mapping with their dotted paths.

    >>> list(leaves({"a": {"b": 1}, "c": 2}))
    [('a.b', 1), ('c', 2)]
    """
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


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
    settings = {k: v for k, v in task.config["train"].items() if k != "validate_every"}
    stages = fewshot.stages(task)
    check_stages(stages)
    names = from_mapping(Settings, {"seed": task.config["seed"], **settings})
    for index, stage in enumerate(stages):
        trace_step(stage, abstract_state(stages, task.init, names, index))
    trace_readers(task, abstract_state(stages, task.init, names, len(stages) - 1))


def trace_step(stage: Stage, state: TrainState) -> None:
    """Traces the loss of a stage on its first batch, which the devices must share evenly."""
    batch = stage.batches[0]
    sharding.check_divides(len(jax.tree.leaves(batch)[0]))
    key = jax.eval_shape(lambda: jax.random.key(0))
    jax.eval_shape(stage.loss, state.params, state.model_state, state.loss_state, batch, key)


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
