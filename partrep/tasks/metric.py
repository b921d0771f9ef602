"""Metric learning: embeddings of parts trained on some classes so that images of other classes find their like.

In: a config and a workdir. Out: the trained variables, `{name: number}`, and the report's page.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup, losses
from partrep.data.fewshot import FewshotData
from partrep.data.imageset import Batch, ImageSet
from partrep.data.pipeline import Prefetched
from partrep.evaluate.predict import predict
from partrep.losses.pairs import SMALLEST_PRESENCE, Similarity
from partrep.losses.proxies import centre_spread
from partrep.metrics.retrieval import retrieval_scores
from partrep.models.comparisons import COMPARISONS, Comparison, Kept
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel, build
from partrep.tasks import classify_photos, metric_data
from partrep.tasks.batches import ClassBatches, eval_batches, of_classes
from partrep.tasks.part_terms import part_terms
from partrep.train import sharding
from partrep.train.loop import Every, Hooks, Settings, fit
from partrep.train.stages import Aux, Stage, Terms, init_key, stream
from partrep.train.state import TrainState, Tree

RANKS = (1, 2, 4, 8)
"""Of recall@k."""
PAIR_LOSSES = (
    "circle", "contrastive", "histogram_ap", "multi_similarity", "smooth_ap", "supervised_contrastive", "triplet"
)  # fmt: skip
"""Losses of the pairs of a batch, by any comparison."""
PROXY_LOSSES = ("arcface", "cosface", "normalised_softmax", "proxy_anchor", "proxy_nca", "soft_triple")
"""Losses of one vector an image and learned ones of the classes."""
LOCAL_LOSSES = ("superfeature_contrastive",)
"""Losses of the parts of two images that match, whatever the comparison."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each task
class Metric:
    """A config with what it names: the data, the model and how images are compared."""

    config: Mapping[str, Any]
    data: FewshotData
    model: PartModel

    @property
    def comparison(self) -> Comparison:
        """The comparison that is trained."""
        return lookup(COMPARISONS, self.config["comparison"], "comparison")

    def init(self, key: jax.Array) -> dict[str, Tree]:
        """The variables at step 0: the model's, and the proxies of the classes where the loss has some."""
        streams = {name: stream(key, name) for name in ("params", "gumbel", "dropout")}
        images, grid = self.data.train, self.data.train.grid
        size = self.config["data"]["size"]
        shape = (2, *(grid or (size, size, self.data.channels)))
        variables = dict(self.model.init(streams, jnp.zeros(shape), True, method=self._entry))
        params = {"model": variables["params"]}
        if self.config["loss"]["name"] in PROXY_LOSSES:
            outputs = jax.eval_shape(self.outputs, {**variables, "params": params}, jnp.zeros(shape))
            width = jax.eval_shape(lambda found: self.comparison.vector(self.comparison.keep(found)), outputs).shape[1]
            several = self.config["loss"].get("centres")
            per_class = (images.classes, several, width) if several else (images.classes, width)
            params["proxies"] = jax.random.normal(stream(key, "proxies"), per_class) * width**-0.5
        return {**variables, "params": params}

    @property
    def _entry(self) -> Callable[..., Any] | None:
        return PartModel.from_features if self.data.train.grid else None

    def forward(self, params: Tree, model_state: Tree, images: jax.Array, key: jax.Array) -> tuple[PartOutputs, Tree]:
        """Outputs in training mode, and the new batch statistics."""
        streams = {name: stream(key, name) for name in ("gumbel", "dropout")}
        variables = {"params": params["model"], **model_state}
        return self.model.apply(
            variables, images, True, rngs=streams, mutable=list(model_state), method=self._entry
        )

    def outputs(self, variables: Tree, images: jax.Array) -> PartOutputs:
        """Outputs in evaluation mode; of a set of features, `images` are these."""
        given = {**variables, "params": variables["params"]["model"]}
        outputs = self.model.apply(given, images, False, method=self._entry)
        assert isinstance(outputs, PartOutputs)
        return outputs

    def start(self) -> Any:
        """The variables at step 0, or what makes them of a key where they do not hang on the data."""
        if not self.config["start"]:
            return self.init
        seed = self.config["seed"]
        made = jax.device_get(sharding.init_replicated(self.init, init_key(seed)))
        inner = {"params": made["params"]["model"]}
        started = classify_photos.started(inner, self.config["start"], self.data.train, seed)
        return {**made, "params": {**made["params"], "model": started["params"]}}


def make(config: Mapping[str, Any]) -> Metric:
    """Reads the data and builds the model that a config names."""
    made = metric_data.load(config)
    dtype = sharding.compute_dtype(config["dtype"])
    return Metric(config, made.data, build(made.recipe, made.data.train.classes, dtype))


def metric_loss(
    task: Metric, params: Tree, model_state: Tree, loss_state: Tree, batch: Batch, key: jax.Array
) -> tuple[Terms, Aux]:
    """The loss of the config on the similarities of a batch, and the terms on the parts."""
    images = task.data.train.decode(batch, stream(key, "augment"))
    outputs, model_state = task.forward(params, model_state, images, key)
    kept = task.comparison.keep(outputs)
    terms = {**_loss(task, kept, batch["label"], params.get("proxies")), **part_terms(task.config["losses"], outputs)}
    alike = task.comparison.similarity(kept, kept)
    nearest = jnp.where(jnp.eye(len(alike), dtype=bool), -jnp.inf, alike).argmax(1)
    hits = (batch["label"][nearest] == batch["label"]).mean()
    return terms, Aux(model_state, loss_state, {"precision_at_1": hits})


def _loss(task: Metric, kept: Kept, labels: jax.Array, proxies: jax.Array | None) -> Terms:
    settings, vectors = task.config["loss"], kept if proxies is None else task.comparison.vector(kept)
    terms = {"metric": (loss_of(settings, vectors, labels, task.comparison.similarity, proxies), 1.0)}
    weight = settings.get("centre_spread", 0.0)
    return {**terms, "centre_spread": (centre_spread(proxies), weight)} if weight and proxies is not None else terms


def loss_of(
    settings: Mapping[str, Any], kept: Kept, labels: jax.Array, similarity: Similarity, proxies: jax.Array | None
) -> jax.Array:
    """The loss that settings name: of what was kept, of all pairs, or of one vector an image and the proxies."""
    own = {key: value for key, value in settings.items() if key not in ("name", "block", "centres", "centre_spread")}
    function = cast(Callable[..., jax.Array], losses.LOSSES[settings["name"]])
    block = settings.get("block") or None
    if settings["name"] in LOCAL_LOSSES:
        return function(present_vectors(kept), labels, block=block, **own)
    if proxies is None:
        return function(kept, labels, similarity=similarity, block=block, **own)
    return function(kept, proxies, labels, **own).mean()


def present_vectors(kept: Kept) -> jax.Array:
    """The vectors [B,K,D] of what was kept of parts, zero where a part is absent."""
    vectors, presence = kept
    return jnp.where(presence[..., None] > SMALLEST_PRESENCE, vectors, 0.0)


def stages(task: Metric) -> list[Stage]:
    """The one stage of a run."""
    settings, seed = task.config["stages"]["metric"], task.config["seed"]
    order = of_classes(task.data.train.labels, settings["classes"], settings["examples"], seed)
    loss = functools.partial(metric_loss, task)
    drawn = ClassBatches(task.data.train, order)
    return [Stage("metric", settings["steps"], loss, drawn, dict(settings["optimizer"]), settings["trainable"])]


def train(task: Metric, workdir: pathlib.Path | None) -> TrainState:
    """Trains; the same workdir resumes."""
    every = task.config["train"].get("validate_every", 0)
    hooks = Hooks(on_step=[Every(every, functools.partial(validate, task))]) if every else Hooks()
    settings = {k: v for k, v in task.config["train"].items() if k != "validate_every"}
    ahead = [dataclasses.replace(stage, batches=Prefetched(stage.batches)) for stage in stages(task)]
    return fit(ahead, task.start(), Settings(seed=task.config["seed"], **settings), workdir, hooks)


def validate(task: Metric, state: TrainState) -> dict[str, float]:
    """MAP@R of the trained comparison on the validation classes."""
    if task.data.validation is None:
        raise UserError("no validation classes in these data; expected --config.train.validate_every=0")
    images = task.data.validation
    kept = kept_of(task, state.eval_variables, images, (task.config["comparison"],))
    similar = block_function(task.comparison, kept[task.config["comparison"]])
    return {"validation/map@r": retrieval_scores(similar, images.labels, k=(1,))["map@r"]}


def kept_of(
    task: Metric, variables: Tree, images: ImageSet, comparisons: tuple[str, ...]
) -> dict[str, Kept]:
    """What each comparison keeps of every image of a set: {name: pytree of arrays [n,...]}."""
    batches = eval_batches(images, task.config["evaluation"]["batch_size"])
    return predict(_keeper(task, images.decode, comparisons), variables, batches)


@functools.cache
def _keeper(task: Metric, decode: Callable[..., jax.Array], comparisons: tuple[str, ...]):
    """The function that `predict` compiles; kept, so that sets of one renderer share a program."""

    def apply(variables: Tree, batch: Batch) -> dict[str, Kept]:
        outputs = task.outputs(variables, decode(batch, None))
        return {name: COMPARISONS[name].keep(outputs) for name in comparisons}

    return apply


BLOCK = 256
"""Queries at once."""
LOCAL_BLOCK = 8
"""Queries at once whose local vectors meet all those of others."""
PAIRS = 2**17
"""Cosines of local vectors held at once, few enough for a cache: on a CPU eight times as fast as 2**26."""


def block_function(comparison: Comparison, kept: Kept) -> Callable[[np.ndarray], np.ndarray]:
    """The function rows int [b] -> similarities f32 [b,N] that the metrics of retrieval take.

    Evaluated on the device in blocks of one shape: some queries with all images or, where local vectors all meet, with
    some images after the other.
    """
    kept = jax.tree.map(jnp.asarray, kept)
    shape = jax.tree.leaves(kept)[0].shape
    all_meet = comparison.shares is None and len(shape) == 3
    count = LOCAL_BLOCK if all_meet else BLOCK
    others = max(1, min(shape[0], PAIRS // (count * shape[1] ** 2))) if all_meet else shape[0]
    compiled = jax.jit(functools.partial(_in_chunks, comparison.similarity, others))

    def similarity(rows: np.ndarray) -> np.ndarray:
        padded = np.resize(rows, -(-len(rows) // count) * count)
        parts = [compiled(padded[i : i + count], kept) for i in range(0, len(padded), count)]
        return np.concatenate(jax.device_get(parts))[: len(rows)]

    return similarity


def _in_chunks(similarity: Similarity, size: int, rows: jax.Array, kept: Kept) -> jax.Array:
    """Similarities f32 [b,N] of some rows of what was kept to all of it, `size` images at a time."""
    count = len(jax.tree.leaves(kept)[0])
    chunks = -(-count // size)

    def chunked(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, chunks * size - count), *((0, 0),) * (x.ndim - 1)))
        return padded.reshape(chunks, size, *x.shape[1:])

    queries = jax.tree.map(lambda x: x[rows], kept)
    found = jax.lax.map(functools.partial(similarity, queries), jax.tree.map(chunked, kept))
    return jnp.moveaxis(found, 0, 1).reshape(len(rows), -1)[:, :count]
