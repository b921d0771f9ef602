"""Classification by parts: training in stages on labelled images, whose predictions are then explained.

In: a config and a workdir. Out: the trained variables; `classify_evaluation` scores them.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.data import classify as classify_data
from partrep.data.classify import ClassifyData
from partrep.data.imageset import Batch, ImageSet
from partrep.data.pipeline import Prefetched
from partrep.evaluate.predict import predict
from partrep.losses.classification import softmax_cross_entropy
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel, build
from partrep.tasks.batches import ClassBatches, eval_batches
from partrep.tasks.part_terms import part_terms
from partrep.train import sharding
from partrep.train.loop import Every, Hooks, Settings, fit
from partrep.train.stages import Aux, Stage, Terms, stream
from partrep.train.state import TrainState, Tree

STAGES = ("warm", "joint", "last", "pruned")
"""The stages a run can have, in their order."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each task
class Classify:
    """A config with what it names: the data and the model."""

    config: Mapping[str, Any]
    data: ClassifyData
    model: PartModel

    def init(self, key: jax.Array) -> dict[str, Tree]:
        """The variables at step 0."""
        size = self.config["data"]["size"]
        images = jnp.zeros((2, size, size, self.data.channels))
        streams = {name: stream(key, name) for name in ("params", "gumbel", "dropout")}
        return dict(self.model.init(streams, images, True))

    def forward(self, params: Tree, model_state: Tree, images: jax.Array, key: jax.Array) -> tuple[PartOutputs, Tree]:
        """Outputs in training mode, and the new batch statistics."""
        streams = {name: stream(key, name) for name in ("gumbel", "dropout")}
        return self.model.apply(
            {"params": params, **model_state}, images, True, rngs=streams, mutable=list(model_state)
        )

    def outputs(self, variables: Tree, images: jax.Array) -> PartOutputs:
        """Outputs in evaluation mode."""
        outputs = self.model.apply(variables, images, False)
        assert isinstance(outputs, PartOutputs)
        return outputs


def make(config: Mapping[str, Any]) -> Classify:
    """Reads the data and builds the model that a config names."""
    data = classify_data.load(config["data"])
    dtype = sharding.compute_dtype(config["dtype"])
    return Classify(config, data, build(config["model"], data.train.classes, dtype))


def classification_loss(
    task: Classify, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """Cross entropy with the class or, where images show less than one class, the exact posterior; part terms."""
    images = task.data.train
    outputs, model_state = task.forward(params, model_state, images.decode(batch, stream(key, "augment")), key)
    assert outputs.logits is not None
    target = batch["label"] if images.target is None else images.target(batch)
    entropy = softmax_cross_entropy(outputs.logits, target, task.config["label_smoothing"]).mean()
    correct = (outputs.logits.argmax(-1) == batch["label"]).mean()
    terms = {"classification": (entropy, 1.0), **part_terms(task.config["losses"], outputs)}
    return terms, Aux(model_state, loss_state, {"accuracy": correct})


def stages(task: Classify) -> list[Stage]:
    """The stages of the config with at least one step, in the order of `STAGES`."""
    config, made, until = task.config, [], 0
    if unknown := sorted(set(config["stages"]) - set(STAGES)):
        raise UserError(f"unknown stage {unknown[0]!r}; known: {', '.join(STAGES)}")
    for name in STAGES:
        settings = config["stages"].get(name)
        if not settings or not settings["steps"]:
            continue
        until += settings["steps"]
        batches = ClassBatches(task.data.train, settings["batch_size"], config["seed"])
        loss = functools.partial(classification_loss, task)
        made.append(Stage(name, until, loss, batches, dict(settings["optimizer"]), settings["trainable"]))
    return made


def train(task: Classify, workdir: pathlib.Path | None) -> TrainState:
    """Trains through the stages of the config; the same workdir resumes."""
    every = task.config["train"]["validate_every"]
    hooks = Hooks(on_step=[Every(every, functools.partial(validate, task))]) if every else Hooks()
    settings = {k: v for k, v in task.config["train"].items() if k != "validate_every"}
    ahead = [dataclasses.replace(stage, batches=Prefetched(stage.batches)) for stage in stages(task)]
    return fit(ahead, task.init, Settings(seed=task.config["seed"], **settings), workdir, hooks)


def validate(task: Classify, state: TrainState) -> dict[str, float]:
    """Accuracy on the validation images."""
    return {"validation/accuracy": float(correct(task, state.eval_variables, task.data.validation).mean())}


def correct(task: Classify, variables: Tree, images: ImageSet) -> np.ndarray:
    """bool [n]: whether each image of a set is classified right."""
    batches = eval_batches(images, task.config["evaluation"]["batch_size"])
    return predict(_correct(task, images.decode), variables, batches)


@functools.cache
def _correct(task: Classify, decode):
    """The function that `predict` compiles; sets of one renderer share it."""

    def apply(variables: Tree, batch: Batch) -> jax.Array:
        logits = task.outputs(variables, decode(batch, None)).logits
        assert logits is not None
        return logits.argmax(-1) == batch["label"]

    return apply
