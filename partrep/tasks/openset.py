"""Open-set recognition: one method trained on the known classes of one trial.

In: the config of a method, the data of a trial. Out: the trained variables; `openset_evaluation` scores them.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from partrep import UserError, lookup
from partrep.data import openset as openset_data
from partrep.data.imageset import Batch
from partrep.data.openset import OpensetData
from partrep.data.pipeline import Prefetched
from partrep.losses.classification import softmax_cross_entropy
from partrep.losses.reciprocal_points import reciprocal_points
from partrep.models.aspects import GreyAspect
from partrep.models.generative_discriminative import (
    TURNS,
    Compared,
    GenerativeDiscriminative,
    ImageAutoencoder,
    turned,
)
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel, build
from partrep.tasks.batches import ClassBatches, shuffled
from partrep.tasks.part_terms import part_terms
from partrep.train import sharding
from partrep.train.loop import Settings, fit
from partrep.train.stages import Aux, Stage, Terms, stream
from partrep.train.state import TrainState, Tree

STREAMS = ("gumbel", "dropout")
STAGES = {"generative": "autoencoder/.*", "joint": "(?!autoencoder/).*"}
"""The stages a method can have, in their order, and what they train."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each task
class Openset:
    """A method's config with what it names, in one trial.

    `config` is the run's with the entries of the method in it, see `of_method`.
    """

    config: Mapping[str, Any]
    data: OpensetData
    model: PartModel | GreyAspect | GenerativeDiscriminative

    def init(self, key: jax.Array) -> dict[str, Tree]:
        """The variables at step 0."""
        size = self.config["data"]["size"]
        streams = {name: stream(key, name) for name in ("params", *STREAMS)}
        return dict(self.model.init(streams, jnp.zeros((2, size, size, self.data.channels)), True))

    def forward(self, params: Tree, model_state: Tree, images: jax.Array, key: jax.Array) -> tuple[Any, Tree]:
        """What the model returns in training mode, and the new batch statistics."""
        streams = {name: stream(key, name) for name in STREAMS}
        given = {"params": params, **model_state}
        return self.model.apply(given, images, True, rngs=streams, mutable=list(model_state))

    def outputs(self, variables: Tree, images: jax.Array) -> PartOutputs:
        """Outputs in evaluation mode."""
        made = self.model.apply(variables, images, False)
        outputs = made.outputs if isinstance(made, Compared) else made
        assert isinstance(outputs, PartOutputs)
        return outputs


def of_method(config: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The config of one of the run's methods: what all share, and its own model, loss and augmentation."""
    own = dict(lookup(config["methods"], method, "method"))
    data = {**config["data"], "warp": own.pop("warp")}
    return {**config, **own, "data": data, "method": method}


def make(config: Mapping[str, Any], method: str, trial: int) -> Openset:
    """Reads the data of a trial and builds the model of a method."""
    own = of_method(config, method)
    data = openset_data.load(own["data"], trial)
    dtype = sharding.compute_dtype(own["dtype"])
    entries = recipe(own["model"], data)
    model = build(entries, data.train.classes, dtype)
    if own.get("grey"):
        twin = build(entries, data.train.classes, dtype)  # its pieces are others: one module used twice shares weights
        assert twin.head is not None
        return Openset(own, data, GreyAspect(model, twin.backbone, twin.bottleneck, twin.head))
    if not own.get("autoencoder"):
        return Openset(own, data, model)
    autoencoder = ImageAutoencoder(**dict(own["autoencoder"]), dtype=dtype)
    return Openset(own, data, GenerativeDiscriminative(autoencoder, model))


def named_parts(model: Mapping[str, Any]) -> bool:
    """Whether the parts of a model are told what they are: each is an attribute of the classes."""
    return model["head"]["name"] == "attributes"


def recipe(model: Mapping[str, Any], data: OpensetData) -> dict[str, Any]:
    """The entries of a model; a head by attributes gets the values of the known classes.

    Raises:
        UserError: a head by attributes, and classes without any.
    """
    if not named_parts(model):
        return dict(model)
    if data.attributes is None:
        raise UserError("the head attributes, on data whose classes have no attributes; expected those of birds")
    return {**model, "head": {**model["head"], "table": tuple(map(tuple, data.attributes.tolist()))}}


def cross_entropy(task: Openset, params: Tree, outputs: PartOutputs, labels: jax.Array) -> jax.Array:
    """The mean cross entropy over the known classes."""
    assert outputs.logits is not None
    return softmax_cross_entropy(outputs.logits, labels, task.config["label_smoothing"]).mean()


def arpl(task: Openset, params: Tree, outputs: PartOutputs, labels: jax.Array) -> jax.Array:
    """ARPL on the code of the whole image, with the points and the radius of its head."""
    head, smoothing = params["head"], task.config["label_smoothing"]
    return reciprocal_points(outputs.codes[:, 0], head["points"], head["radius"], labels, label_smoothing=smoothing)


def reconstruction(task: Openset, params: Tree, outputs: PartOutputs, labels: jax.Array) -> jax.Array:
    """Cross entropy of the head `autoencoders`, and a share of the error of the own class, which has to be small too.

    Cross entropy alone asks that it is smaller than those of other classes; what an image of no class costs is then
    no more than what one of a class costs.
    """
    assert outputs.logits is not None
    own = -jnp.take_along_axis(outputs.logits, labels[:, None], axis=1).mean()
    return cross_entropy(task, params, outputs, labels) + task.config["own_error"] * own


def attributes(task: Openset, params: Tree, outputs: PartOutputs, labels: jax.Array) -> jax.Array:
    """The mean cross entropy of the values of the parts, with the head `attributes`: each part tells its own."""
    assert outputs.contributions is not None
    own = jnp.take_along_axis(outputs.contributions, labels[:, None, None], axis=2)
    return -own.mean()


OBJECTIVES = {"cross_entropy": cross_entropy, "arpl": arpl, "reconstruction": reconstruction, "attributes": attributes}


def classification_loss(
    task: Openset, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """The method's loss over the known classes, and the terms on its parts."""
    images = task.data.train.decode(batch, stream(key, "augment"))
    outputs, model_state = task.forward(params, model_state, images, key)
    value = lookup(OBJECTIVES, task.config["objective"], "objective")(task, params, outputs, batch["label"])
    terms = {"classification": (value, 1.0), **part_terms(task.config["losses"], outputs)}
    return terms, Aux(model_state, loss_state, {"accuracy": accuracy(outputs, batch["label"])})


def turns_loss(
    task: Openset, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """Cross entropy over the known classes of upright images, and of the number of quarter turns of turned ones.

    Half of the images are shown turned as well. Classes are asked of upright images alone: half a turn makes a 6 a 9.
    """
    images = task.data.train.decode(batch, stream(key, "augment"))
    count = images.shape[0]
    turns = jax.random.randint(stream(key, "turns"), (-(-count // 2),), 0, TURNS)
    both = jnp.concatenate([images, turned(images[: len(turns)], turns)])
    compared, model_state = task.forward(params, model_state, both, key)
    upright = jax.tree.map(lambda x: x[:count], compared.outputs)
    terms = {
        "classification": (cross_entropy(task, params, upright, batch["label"]), 1.0),
        "turns": (softmax_cross_entropy(compared.turns[count:], turns).mean(), 1.0),
    }
    right = (compared.turns[count:].argmax(-1) == turns).mean()
    numbers = {"accuracy": accuracy(upright, batch["label"]), "turns_accuracy": right}
    return terms, Aux(model_state, loss_state, numbers)


def generative_loss(
    task: Openset, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """Mean squared error of the autoencoder's images."""
    assert isinstance(task.model, GenerativeDiscriminative)
    images = task.data.train.decode(batch, stream(key, "augment"))
    rebuilt = task.model.autoencoder.apply({"params": params["autoencoder"]}, images)
    error = jnp.mean(jnp.square(jnp.asarray(rebuilt) - images))
    return {"reconstruction": (error, 1.0)}, Aux(model_state, loss_state, {})


def accuracy(outputs: PartOutputs, labels: jax.Array) -> jax.Array:
    """The share of a batch that is classified right."""
    assert outputs.logits is not None
    return (outputs.logits.argmax(-1) == labels).mean()


def stages(task: Openset) -> list[Stage]:
    """The stages of the config with at least one step that the method has."""
    config, made, until = task.config, [], 0
    if unknown := sorted(set(config["stages"]) - set(STAGES)):
        raise UserError(f"unknown stage {unknown[0]!r}; known: {', '.join(STAGES)}")
    generative = isinstance(task.model, GenerativeDiscriminative)
    losses = {"generative": generative_loss, "joint": turns_loss if generative else classification_loss}
    for name, pattern in STAGES.items():
        settings = config["stages"].get(name)
        if not settings or not settings["steps"] or (name == "generative" and not generative):
            continue
        until += settings["steps"]
        order = shuffled(len(task.data.train), settings["batch_size"], config["seed"])
        optimizer = dict(settings["optimizer"])
        if name == "joint":
            optimizer["multipliers"] = config["multipliers"]
        loss, batches = functools.partial(losses[name], task), ClassBatches(task.data.train, order)
        made.append(Stage(name, until, loss, batches, optimizer, pattern if generative else ".*"))
    return made


def train(task: Openset, workdir: pathlib.Path | None) -> TrainState:
    """Trains through the stages of the method; the same workdir resumes."""
    settings = {k: v for k, v in task.config["train"].items() if k != "validate_every"}
    ahead = [dataclasses.replace(stage, batches=Prefetched(stage.batches)) for stage in stages(task)]
    return fit(ahead, task.init, Settings(seed=task.config["seed"], **settings), workdir)
