"""Few-shot recognition: classification and episodic training on base classes, episodes of novel classes to report.

In: a config and a workdir. Out: the trained variables, `{name: number}`, and the report's page.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup
from partrep.data import fewshot as fewshot_data
from partrep.data.episodes import EpisodeBatches, EpisodeSampler
from partrep.data.fewshot import FewshotData
from partrep.data.imageset import Batch, ImageSet
from partrep.data.pairs import PairBatches, invent_classes
from partrep.data.pipeline import Prefetched
from partrep.data.transforms import Warp, WarpSettings
from partrep.evaluate.fewshot import draw_episodes, episode_accuracy, pixel_local
from partrep.evaluate.predict import predict
from partrep.evaluate.views import join
from partrep.losses.classification import softmax_cross_entropy
from partrep.models import local_views
from partrep.models.heads import FEWSHOT_HEADS, FEWSHOT_INIT
from partrep.models.local import Local
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel, build
from partrep.tasks.batches import ClassBatches, eval_batches, shuffled
from partrep.tasks.part_terms import part_terms
from partrep.train import sharding
from partrep.train.loop import Every, Hooks, Settings, fit
from partrep.train.settings import from_mapping
from partrep.train.stages import Aux, Stage, Terms, stream
from partrep.train.state import TrainState, Tree

View = Callable[[PartOutputs], Local]
Views = tuple[tuple[str, View | None], ...]
"""Ways to read an image by name; None is the image's own pixels."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each task
class Fewshot:
    """A config with what it names: the data, the model and the few-shot head that reads it."""

    config: Mapping[str, Any]
    data: FewshotData
    model: PartModel

    @property
    def view(self):
        """The function from outputs to local vectors that the episodic stage trains."""
        return lookup(local_views.VIEWS, self.config["head"]["view"], "view")

    @property
    def head_settings(self) -> dict[str, Any]:
        """The keyword settings of the configured few-shot head."""
        return {k: v for k, v in self.config["head"].items() if k not in ("name", "view")}

    def init(self, key: jax.Array) -> dict[str, Tree]:
        """The variables at step 0: the model's, and the parameters of the few-shot head."""
        size = self.config["data"]["size"]
        images = jnp.zeros((2, size, size, self.data.channels))
        streams = {name: stream(key, name) for name in ("params", "gumbel", "dropout")}
        variables = dict(self.model.init(streams, images, True))
        local = jax.eval_shape(lambda v: self.view(self.model.apply(v, images, False)), variables)
        width = local.vectors.shape[-1]
        head = lookup(FEWSHOT_INIT, self.config["head"]["name"], "few-shot head")(stream(key, "head"), width)
        return {**variables, "params": {"model": variables["params"], "head": head}}

    def bound_head(self, variables: Tree) -> jax.tree_util.Partial:
        """The configured head with its learned parameters: `(support, query, mask) -> logits`."""
        return jax.tree_util.Partial(_configured_head(self), params=variables["params"]["head"])

    def forward(self, params: Tree, model_state: Tree, images: jax.Array, key: jax.Array) -> tuple[PartOutputs, Tree]:
        """Outputs in training mode, and the new batch statistics."""
        streams = {name: stream(key, name) for name in ("gumbel", "dropout")}
        return self.model.apply(
            {"params": params["model"], **model_state}, images, True, rngs=streams, mutable=list(model_state)
        )

    def outputs(self, variables: Tree, images: jax.Array) -> PartOutputs:
        """Outputs in evaluation mode."""
        outputs = self.model.apply({**variables, "params": variables["params"]["model"]}, images, False)
        assert isinstance(outputs, PartOutputs)
        return outputs


@functools.cache
def _configured_head(task: Fewshot):
    head = lookup(FEWSHOT_HEADS, task.config["head"]["name"], "few-shot head")
    return functools.partial(head, **task.head_settings)


def make(config: Mapping[str, Any]) -> Fewshot:
    """Reads the data and builds the model that a config names."""
    check_head(config["head"])
    data = fewshot_data.load(config["data"])
    dtype = sharding.compute_dtype(config["dtype"])
    return Fewshot(config, data, build(config["model"], data.train.classes, dtype))


def check_head(settings: Mapping[str, Any]) -> None:
    """Raises a `UserError` at an unknown few-shot head, or a setting that it does not have."""
    name = settings["name"]
    parameters = inspect.signature(lookup(FEWSHOT_HEADS, name, "few-shot head")).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    if unknown := sorted(set(settings) - {"name", "view", *known}):
        raise UserError(
            f"config.head has {unknown[0]!r}, which few-shot head {name!r} does not take; expected {', '.join(known)}, "
            "or the key head=... of preset episodic, which sets them"
        )


def classification_loss(
    task: Fewshot, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """Cross entropy over the base classes, and the terms on the parts."""
    images = task.data.train.decode(batch, stream(key, "augment"))
    outputs, model_state = task.forward(params, model_state, images, key)
    smoothing = task.config["label_smoothing"]
    assert outputs.logits is not None
    entropy = softmax_cross_entropy(outputs.logits, batch["label"], smoothing).mean()
    correct = (outputs.logits.argmax(-1) == batch["label"]).mean()
    terms = {"classification": (entropy, 1.0), **part_terms(task.config["losses"], outputs)}
    return terms, Aux(model_state, loss_state, {"accuracy": correct})


def pairs_loss(
    task: Fewshot, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """Cross entropy over the base classes, and of one episode: each pair of the batch is a class of its own.

    A share of the pairs is made into classes that nobody has drawn (`invent_classes`); they have no label, and
    count in the episode alone. The episode is read by the configured few-shot head with nothing learned, either
    side of the pairs in turn as the support.
    """
    settings = task.config["stages"]["pairs"]
    warp = from_mapping(WarpSettings, settings["warp"])
    drawn, invented = invent_classes(stream(key, "invent"), batch["image"], warp, settings["invented"])
    images = task.data.train.decode({**batch, "image": drawn}, stream(key, "augment"))
    outputs, model_state = task.forward(params, model_state, images, key)
    assert outputs.logits is not None
    known = jnp.maximum((~invented).sum(), 1)
    entropy = softmax_cross_entropy(outputs.logits, batch["label"], task.config["label_smoothing"], ~invented)
    correct = (outputs.logits.argmax(-1) == batch["label"]) & ~invented
    episode, right = _pair_episode(_configured_head(task), task.view(outputs))
    terms = {
        "classification": (entropy.sum() / known, 1.0),
        "pairs": (episode, settings["weight"]),
        **part_terms(task.config["losses"], outputs),
    }
    return terms, Aux(model_state, loss_state, {"accuracy": correct.sum() / known, "pairs_accuracy": right})


def _pair_episode(head: Callable[..., jax.Array], local: Local) -> tuple[jax.Array, jax.Array]:
    """Cross entropy and accuracy of telling the pairs [2P,...] apart, each side once the support."""
    sides = [jax.tree.map(lambda x, side=side: x[side::2], local) for side in (0, 1)]
    count = sides[0].weights.shape[0]
    truth, mask = jnp.arange(count), jnp.ones((count, 1), bool)
    logits = [head(jax.tree.map(lambda x: x[:, None], a), b, mask) for a, b in (sides, sides[::-1])]
    entropy = jnp.stack([softmax_cross_entropy(x, truth).mean() for x in logits]).mean()
    return entropy, jnp.stack([(x.argmax(-1) == truth).mean() for x in logits]).mean()


def episodic_loss(
    task: Fewshot, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """Cross entropy of the queries of E episodes, each batch entry being one episode."""
    support_shape = batch["support"]["label"].shape  # [E,C,n]
    flat = jax.tree.map(
        lambda s, q: jnp.concatenate([s.reshape(s.shape[0], -1, *s.shape[3:]), q], 1), batch["support"], batch["query"]
    )
    per_episode = flat["label"].shape[1]
    merged = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), flat)
    images = task.data.train.decode(merged, stream(key, "augment"))
    outputs, model_state = task.forward(params, model_state, images, key)
    local = jax.tree.map(lambda x: x.reshape(-1, per_episode, *x.shape[1:]), task.view(outputs))
    supports, head = support_shape[1] * support_shape[2], _configured_head(task)

    def one(local: Local) -> jax.Array:
        support = jax.tree.map(lambda x: x[:supports].reshape(*support_shape[1:], *x.shape[1:]), local)
        query = jax.tree.map(lambda x: x[supports:], local)
        return head(support, query, jnp.ones(support_shape[1:], bool), params["head"])

    logits = jax.vmap(one)(local)
    entropy = softmax_cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["query_label"].reshape(-1)).mean()
    correct = (logits.argmax(-1) == batch["query_label"]).mean()
    terms = {"episodes": (entropy, 1.0), **part_terms(task.config["losses"], outputs)}
    return terms, Aux(model_state, loss_state, {"accuracy": correct})


class LoadedPairs:
    """Batch t of pairs of the base classes, with what the step needs to make their images."""

    def __init__(self, images: ImageSet, batch_size: int, seed: int):
        self.images = images
        self.order = PairBatches(images.labels, batch_size, seed, sharding.process_index(), sharding.process_count())

    def __getitem__(self, t: int) -> Batch:
        return self.images.load(self.order[t]["index"])


class LoadedEpisodes:
    """Batch t of E episodes, cut over the processes by episode, with what the step needs to make their images."""

    def __init__(self, images: ImageSet, settings: Mapping[str, Any], seed: int):
        drawn = sampler(images, settings, seed)
        self.images = images
        self.order = EpisodeBatches(drawn, settings["episodes"], sharding.process_index(), sharding.process_count())

    def __getitem__(self, t: int) -> Batch:
        episodes = self.order[t]
        return {
            "support": self._load(episodes.support),
            "query": self._load(episodes.query),
            "query_label": episodes.query_label,
        }

    def _load(self, indices: np.ndarray) -> Batch:
        loaded = self.images.load(indices.reshape(-1))
        return {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in loaded.items()}


def sampler(images: ImageSet, settings: Mapping[str, Any], seed: int) -> EpisodeSampler:
    """Episodes of a set: within a group and across an attribute's values where the set has them.

    Of birds, with `shared_parts` over 0, the other classes of an episode share so many parts with its first.
    """
    alike, shared = None, settings.get("shared_parts", 0)
    if shared:
        if images.class_parts is None:
            raise UserError(f"episodes of classes that share {shared} parts need birds; found other data")
        alike = (images.class_parts[:, None] == images.class_parts).sum(-1) == shared
    return EpisodeSampler(
        images.labels,
        settings["ways"],
        settings["shots"],
        settings["queries"],
        seed,
        images.groups,
        images.attribute,
        alike,
    )


LOSSES = {"classify": classification_loss, "pairs": pairs_loss, "episodes": episodic_loss}


def stages(task: Fewshot) -> list[Stage]:
    """The stages of the config with at least one step, in the order of `LOSSES`."""
    config, made, until = task.config, [], 0
    if unknown := sorted(set(config["stages"]) - set(LOSSES)):
        raise UserError(f"unknown stage {unknown[0]!r}; known: {', '.join(LOSSES)}")
    for name, loss in LOSSES.items():
        settings = config["stages"].get(name)
        if not settings or not settings["steps"]:
            continue
        until += settings["steps"]
        made.append(
            Stage(
                name,
                until,
                functools.partial(loss, task),
                _batches(task, name),
                dict(settings["optimizer"]),
                settings["trainable"],
            )
        )
    return made


def _batches(task: Fewshot, stage: str) -> Any:
    settings, seed = task.config["stages"][stage], task.config["seed"]
    if stage == "episodes":
        return LoadedEpisodes(task.data.train, settings, seed)
    if stage == "classify":
        return ClassBatches(task.data.train, shuffled(len(task.data.train), settings["batch_size"], seed))
    if task.data.train.warped is None:
        raise UserError(f"stage 'pairs' needs stored images; {task.config['data']['name']} are rendered")
    return LoadedPairs(task.data.train, settings["batch_size"], seed)


def train(task: Fewshot, workdir: pathlib.Path | None) -> TrainState:
    """Trains through the stages of the config; the same workdir resumes."""
    hooks = Hooks()
    every = task.config["train"].get("validate_every", 0)
    if every and task.data.validation is not None:
        hooks = Hooks(on_step=[Every(every, functools.partial(validate, task))])
    settings = {k: v for k, v in task.config["train"].items() if k != "validate_every"}
    ahead = [dataclasses.replace(stage, batches=Prefetched(stage.batches)) for stage in stages(task)]
    return fit(ahead, task.init, Settings(seed=task.config["seed"], **settings), workdir, hooks)


def validate(task: Fewshot, state: TrainState) -> dict[str, float]:
    """Accuracy of the configured head on 100 validation episodes."""
    images = task.data.validation
    assert images is not None
    local = locals_of(task, state.eval_variables, images, (("trained", task.view),))["trained"]
    episodes = draw_episodes(sampler(images, task.config["evaluation"], seed=1), 100)
    return {
        "validation/accuracy": episode_accuracy(local, episodes, task.bound_head(state.eval_variables)).interval.mean
    }


def locals_of(
    task: Fewshot,
    variables: Tree,
    images: ImageSet,
    views: Views,
    indices: np.ndarray | None = None,
    moves: Warp | None = None,
) -> dict[str, Local]:
    """Each view of every image of a set, or of those at `indices`: {name: Local with a leading axis n}.

    With `moves`, T warps, each image is seen under each of them (`evaluate.views`): T times the vectors.
    """
    batches = eval_batches(images, task.config["evaluation"]["batch_size"], indices)
    if moves is None:
        return predict(_viewer(task, images.decode, views), variables, batches)
    if images.warped is None:
        raise UserError(f"evaluation.warps needs stored images; {task.config['data']['name']} are rendered")
    return predict(_warped_viewer(task, images.warped, views), (variables, moves), batches)


def _in_views(task: Fewshot, variables: Tree, images: jax.Array, views: Views) -> dict[str, Local]:
    outputs = task.outputs(variables, images)
    return {name: view(outputs) if view else pixel_local(images, side=16) for name, view in views}


@functools.cache
def _viewer(task: Fewshot, decode: Callable[..., jax.Array], views: Views):
    """The function that `predict` compiles; kept, so that sets of one renderer share a program."""

    def apply(variables: Tree, batch: Batch) -> dict[str, Local]:
        return _in_views(task, variables, decode(batch, None), views)

    return apply


@functools.cache
def _warped_viewer(task: Fewshot, warped: Callable[..., jax.Array], views: Views):
    """As `_viewer`, of (variables, T warps)."""

    def apply(given: tuple[Tree, Warp], batch: Batch) -> dict[str, Local]:
        def one(move: Warp) -> dict[str, Local]:
            return _in_views(task, given[0], warped(batch, move), views)

        return {name: join(local) for name, local in jax.lax.map(one, given[1]).items()}

    return apply
