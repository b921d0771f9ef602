"""What a few-shot run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from partrep import UserError
from partrep.data.runs import OneShotRuns
from partrep.models import local_views
from partrep.tasks import fewshot, readers
from partrep.tasks.fewshot import Fewshot
from partrep.train.loop import Settings, abstract_state
from partrep.train.settings import from_mapping
from partrep.train.stages import Stage, check_stages
from partrep.train.state import TrainState

DTYPES = ("float32", "bfloat16", "float16")
DATA = {
    "birds": ("world", "level", "images", "size"),
    "omniglot": ("dir", "background", "augmentation", "size", "stored", "validate", "warp"),
    "vinyals": ("dir", "size", "stored", "class_seed", "warp"),
    "folder": ("dir", "augmentation", "size", "stored", "class_seed", "warp"),
    "tfds": ("dir", "augmentation", "size", "stored", "class_seed", "warp"),
}
LEAST = {
    "seed": 0,
    "size": 1,
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
    data = config["data"]
    if missing := [name for name in DATA.get(data["name"], ()) if name not in data]:
        raise UserError(f"data {data['name']!r} needs config.data.{missing[0]}; expected a preset that has it")
    if data.get("dir", "given") == "":
        raise UserError(f"config.data.dir is empty; expected --config.data.dir=PATH of the {data['name']} data")
    if config["evaluation"]["episodes"] < 2:
        raise UserError("config.evaluation.episodes is 1; expected at least 2, for an interval")
    if config["dtype"] not in DTYPES:
        raise UserError(f"config.dtype is {config['dtype']!r}; expected one of {', '.join(DTYPES)}")


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
    if task.data.novel is None:
        OneShotRuns(task.config["data"]["dir"], task.config["data"]["stored"])
    settings = {k: v for k, v in task.config["train"].items() if k != "validate_every"}
    stages = fewshot.stages(task)
    check_stages(stages)
    names = from_mapping(Settings, {"seed": task.config["seed"], **settings})
    for index, stage in enumerate(stages):
        trace_step(stage, abstract_state(stages, task.init, names, index))
    trace_readers(task, abstract_state(stages, task.init, names, len(stages) - 1))


def trace_step(stage: Stage, state: TrainState) -> None:
    """Traces the loss of a stage on its first batch."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    jax.eval_shape(stage.loss, state.params, state.model_state, state.loss_state, stage.batches[0], key)


def trace_readers(task: Fewshot, state: TrainState) -> None:
    """Traces the local vectors of one image, in evaluation mode."""
    images = task.data.held_out
    views = (task.view, local_views.pooled, readers.dense_view(task.config["evaluation"]["dense"] ** 2))

    def apply(variables, batch):
        outputs = task.outputs(variables, images.decode(batch, None))
        return [view(outputs) for view in views]

    jax.eval_shape(apply, state.eval_variables, images.load(np.zeros(1, np.int64)))
