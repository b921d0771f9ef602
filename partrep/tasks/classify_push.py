"""What happens to prototypes at the end of a stage: pushed onto training patches, or removed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from partrep.data.imageset import Batch
from partrep.models.part_model import PartModel
from partrep.parts import push as pushing
from partrep.parts.queries import class_tied
from partrep.tasks.batches import eval_batches
from partrep.train import sharding
from partrep.train.state import TrainState, Tree

KEEP = 0.5
"""A prototype stays where at least this share of its six nearest images is of its class: 3 of 6."""

CERTAIN = 0.5
"""Images whose target gives their class less than this show too little of it to be anybody's prototype."""


def push(task: Any, state: TrainState) -> TrainState:
    """Every prototype becomes the nearest training patch of its class; where from is its provenance.

    The averaged variables are those that are pushed, and become the variables: after a push both are the same.
    """
    state = settled(state)
    prototypes = state.params["method"]["prototypes"]
    nearest = _over_training_images(task, state, pushing.start(*prototypes.shape), _update_nearest)
    moved, provenance = jax.jit(pushing.finish)(nearest, prototypes)
    params = {**state.params, "method": {**state.params["method"], "prototypes": moved}}
    model_state = {**state.model_state, "provenance": {"method": provenance}}
    return settled(state.replace(params=params, model_state=model_state), averaged=False)


def prune(task: Any, state: TrainState) -> TrainState:
    """Removes, by mask, the prototypes of which fewer than three of the six nearest images are of their class."""
    state = settled(state)
    count = state.params["method"]["prototypes"].shape[0]
    neighbours = _over_training_images(task, state, pushing.start_neighbours(count), _update_neighbours)
    share = jax.jit(pushing.own_class_share)(neighbours, _classes(task))
    kept = state.model_state["prune"]["method"]["kept"] * (share >= KEEP)
    model_state = {**state.model_state, "prune": {"method": {"kept": kept}}}
    return settled(state.replace(model_state=model_state), averaged=False)


AT_END: dict[str, Callable[[Any, TrainState], TrainState]] = {"push": push, "prune": prune}


def settled(state: TrainState, averaged: bool = True) -> TrainState:
    """The state with its variables and their average made one: the average, or else the variables."""
    if state.ema is None:
        return state
    if averaged:
        chosen = state.ema["params"], state.ema["model_state"]
    else:
        chosen = state.params, state.model_state
    copied = jax.tree.map(jnp.copy, chosen)  # a step gives both away
    return state.replace(
        params=chosen[0], model_state=chosen[1], ema={"params": copied[0], "model_state": copied[1]}
    )


def _classes(task: Any) -> jax.Array:
    return class_tied(task.data.train.classes, task.config["model"]["method"]["per_class"])


def _over_training_images(task: Any, state: TrainState, found: Tree, update: Callable[..., Tree]) -> Tree:
    """Folds `update` over every training image, in batches of one size."""
    step = jax.jit(functools.partial(_fold, task, update))
    images, index = task.data.train, 0
    devices = sharding.process_count() * sharding.local_device_count()
    size = -(-task.config["evaluation"]["batch_size"] // devices) * devices
    for batch in eval_batches(images, size):
        ids = jnp.arange(index, index + size, dtype=jnp.int32)
        # One at a time: of many that are started, two devices of a CPU may wait for each other in different ones.
        found = jax.block_until_ready(step(state.variables, found, sharding.put_batch(batch), ids))
        index += size
    return found


def _fold(task: Any, update: Callable[..., Tree], variables: Tree, found: Tree, batch: Batch, ids: jax.Array) -> Tree:
    images = task.data.train
    projected = task.model.apply(variables, images.decode(batch, None), method=PartModel.project)
    valid = batch["valid"]
    if images.target is not None:
        certain = jnp.take_along_axis(images.target(batch), batch["label"][:, None], 1)[:, 0]
        valid = valid & (certain > CERTAIN)
    return update(task, found, projected, variables["params"]["method"]["prototypes"], batch["label"], ids, valid)


def _update_nearest(task: Any, found, projected, prototypes, labels, ids, valid):
    return pushing.update(found, projected, prototypes, _classes(task), labels, ids, valid)


def _update_neighbours(task: Any, found, projected, prototypes, labels, ids, valid):
    return pushing.update_neighbours(found, projected, prototypes, labels, ids, valid)
