"""Classification by parts: training in stages on labelled images, whose predictions are then explained.

In: a config and a workdir. Out: the trained variables; `classify_evaluation` scores them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup
from partrep.data import classify as classify_data
from partrep.data.classify import ClassifyData
from partrep.data.imageset import Batch, ImageSet
from partrep.data.pipeline import Prefetched, TrainBatches
from partrep.data.transforms import (
    PhotometricSettings,
    WarpSettings,
    apply_to_images,
    random_photometric,
    random_warp,
)
from partrep.directions import unit
from partrep.evaluate.predict import predict
from partrep.losses.classification import softmax_cross_entropy
from partrep.losses.exclusive import squared_log
from partrep.losses.group_dro import group_dro, start_group_weights
from partrep.models.heads.scores import shrink as shrink_kernel
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel, build, outputs_of
from partrep.tasks import classify_photos
from partrep.tasks.batches import ClassBatches, EqualGroups, balanced, eval_batches, shuffled
from partrep.tasks.classify_groups import alternated, alternates, labels_of, train_groups, with_detectors
from partrep.tasks.classify_push import AT_END
from partrep.tasks.classify_terms import Seen, terms
from partrep.train import sharding
from partrep.train.checkpoint import best_step, load_variables
from partrep.train.loop import Every, Hooks, Settings, fit
from partrep.train.settings import from_mapping
from partrep.train.stages import Aux, Stage, Terms, init_key, stream
from partrep.train.state import TrainState, Tree

STAGES = ("warm", "joint", "last", "pruned")
"""The stages a run can have, in their order."""

STREAMS = ("gumbel", "dropout")
"""Random streams of a model in training."""


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: programs are kept for each task
class Classify:
    """A config with what it names: the data and the model."""

    config: Mapping[str, Any]
    data: ClassifyData
    model: PartModel
    backbone: Tree | None = None  # its variables by collection, where they are given and stay as they are
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what `build` made the model of
    pretrained: Tree | None = None  # variables of a backbone: whose features the data are, or that training starts from

    def init(self, key: jax.Array) -> dict[str, Tree]:
        """The variables at step 0."""
        size, grid = self.config["data"]["size"], self.data.train.grid
        streams = {name: stream(key, name) for name in ("params", *STREAMS)}
        if grid:
            made = dict(self.model.init(streams, jnp.zeros((2, *grid)), True, method=PartModel.from_features))
        else:
            made = dict(self.model.init(streams, jnp.zeros((2, size, size, self.data.channels)), True))
        for collection, given in (self.backbone or {}).items():
            made[collection] = {**made[collection], "backbone": jax.tree.map(jnp.asarray, given)}
        return made

    def forward(
        self, params: Tree, model_state: Tree, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[PartOutputs, Tree]:
        """Outputs of a batch of images or of their features, in training mode or not, and the new statistics.

        With a second view, its outputs follow those of the first.
        """
        streams = {name: stream(key, name) for name in STREAMS}
        apply = functools.partial(
            self.model.apply, {"params": params, **model_state}, rngs=streams, mutable=list(model_state), train=train
        )
        if "features" in batch:
            return apply(batch["features"].astype(jnp.float32), method=PartModel.from_features)
        return apply(batch["image"], method=PartModel.from_features if self.data.train.grid else None)

    def outputs(self, variables: Tree, images: jax.Array) -> PartOutputs:
        """Outputs in evaluation mode; of a set of features, `images` are these."""
        if not self.data.train.grid:
            return outputs_of(self.model, variables, images)
        outputs = self.model.apply(variables, images, method=PartModel.from_features)
        assert isinstance(outputs, PartOutputs)
        return outputs

    def start(self) -> Any:
        """The variables at step 0, or what makes them of a key.

        A pretrained backbone and what is read from features are no constants of a program.
        """
        if self.pretrained is None:
            return self.init
        seed, grid = self.config["seed"], self.data.train.grid
        made = jax.device_get(sharding.init_replicated(self.init, init_key(seed)))
        for collection, given in self.pretrained.items() if not grid else ():
            made[collection] = {**made[collection], "backbone": given}
        return classify_photos.started(made, self.config["start"], self.data.train, seed)

    @property
    def train_features(self) -> dict[str, Any]:
        """What a step reads of every training image: features f16 [n,h,w,D] of the given backbone for its pixels.

        Kept for the last few backbones and views, so that several heads on one backbone share it.
        """
        key = json.dumps([self.config[name] for name in ("backbone_from", "data", "view", "seed")], default=dict)
        if key not in _FEATURES:
            while len(_FEATURES) >= MOST_FEATURES:
                del _FEATURES[next(iter(_FEATURES))]
            _FEATURES[key] = _read_features(self)
        return _FEATURES[key]

    @functools.cached_property
    def train_groups(self) -> np.ndarray:
        """i32 [n]: the group of each training image, found without labels."""
        return train_groups(self)

    @functools.cached_property
    def train_conflicts(self) -> np.ndarray:
        """i32 [n]: 1 for training images in the habitat of another class, 0 for those in that of their own."""
        matched = self.data.train.matched
        if matched is None:
            raise UserError("the objective groupdro needs images in two kinds of surroundings; found one")
        found = predict(lambda _, batch: matched(batch), {}, eval_batches(self.data.train, SURROUNDINGS_BATCH))
        return 1 - found.astype(np.int32)

    @property
    def train_columns(self) -> dict[str, Any]:
        """What a batch holds of every training image: `train_features` and, where parts are of groups, `group`."""
        grouped = labels_of(self.config) == "groups"
        return {**self.train_features, "group": self.train_groups} if grouped else self.train_features


MOST_FEATURES = 2
SURROUNDINGS_BATCH = 490  # training images whose surroundings are looked at together
_FEATURES: dict[str, dict[str, Any]] = {}


def _read_features(task: Classify) -> dict[str, Any]:
    variables = {collection: {"backbone": given} for collection, given in (task.backbone or {}).items()}

    def apply(variables: Tree, batch: Batch) -> dict[str, Any]:
        seen = shown(task, batch, jax.random.key(task.config["seed"]))
        made = {name: value for name, value in seen.items() if name not in ("image", "other")}
        for name, view in (("features", "image"), ("other_features", "other")):
            if view in seen:
                features = task.model.apply(variables, seen[view], method=PartModel.encode)
                assert isinstance(features, jax.Array)
                made[name] = features.astype(jnp.float16)
        return made

    return predict(apply, variables, eval_batches(task.data.train, task.config["evaluation"]["batch_size"]))


def make(config: Mapping[str, Any]) -> Classify:
    """Reads the data and builds the model that a config names."""
    if "pretrained" in config:
        made = classify_photos.make(config)
        return Classify(config, made.data, made.model, None, made.recipe, made.pretrained)
    data = classify_data.load(config["data"])
    dtype = sharding.compute_dtype(config["dtype"])
    model = build(config["model"], data.train.classes, dtype)
    folder = config["backbone_from"]
    backbone = load_backbone(pathlib.Path(folder), config) if folder else None
    return Classify(config, data, model, backbone, config["model"])


def load(workdir: pathlib.Path) -> tuple[Classify, dict[str, Tree]]:
    """A finished run as its task and its variables, to be measured further."""
    config = finished_config(workdir, "--workdir")
    if config.get("task") != "classify":
        raise UserError(f"{workdir} is a run of the task {config.get('task')!r}; expected a classifier")
    variables, _ = load_variables(workdir / "checkpoints", best_step(workdir / "checkpoints"))
    return make({**config, "backbone_from": ""}), variables


def finished_config(folder: pathlib.Path, said: str) -> dict[str, Any]:
    """The config of the finished run in a folder that `said` names."""
    path = folder / "config.json"
    if not path.exists() or not (folder / "results.json").exists():
        raise UserError(f"{said} is {folder}, which holds no finished run; expected its workdir")
    return json.loads(path.read_text())


def load_backbone(folder: pathlib.Path, config: Mapping[str, Any]) -> dict[str, Tree]:
    """The variables of the backbone of a finished run, by collection; it must be the same network on the same data."""
    found = finished_config(folder, "config.backbone_from")
    wanted = json.loads(json.dumps({"data": dict(config["data"]), "backbone": dict(config["model"]["backbone"])}))
    for name, theirs in (("data", found["data"]), ("backbone", found["model"]["backbone"])):
        if theirs != wanted[name]:
            raise UserError(f"config.backbone_from is {folder}, a run of another {name}; expected {wanted[name]}")
    variables, _ = load_variables(folder / "checkpoints", best_step(folder / "checkpoints"))
    return {collection: tree["backbone"] for collection, tree in variables.items() if "backbone" in tree}


def shown(task: Classify, batch: Batch, key: jax.Array) -> Batch:
    """What a step reads: `image`, `label`, `target` f32 [B,C] and, where the config has a second view, `other`.

    Where classes have surroundings of their own, `matched` bool [B] says which images show them.
    The second view is the same image in another light (`relit`), under a random warp (`warped`), which is then given
    too, or with a rectangle of the image before it in the batch (`recombined`), whose cells are given as `pasted`.
    """
    images = task.data.train
    image = images.decode(batch, stream(key, "augment"))
    target = jax.nn.one_hot(batch["label"], images.classes) if images.target is None else images.target(batch)
    made = {"image": image, "label": batch["label"], "target": target}
    if images.matched is not None:
        made["matched"] = images.matched(batch)
    settings = dict(task.config["view"])
    name = settings.pop("name", "")
    if name == "relit":
        made["other"] = random_photometric(stream(key, "relit"), image, from_mapping(PhotometricSettings, settings))
    elif name == "warped":
        made["warp"] = random_warp(stream(key, "warped"), image.shape[0], from_mapping(WarpSettings, settings))
        made["other"] = apply_to_images(made["warp"], image, fill=None)
    elif name == "recombined":
        if set(settings) != {"cells", "low", "high"}:
            found = ", ".join(settings) or "nothing"
            raise UserError(f"config.view recombined with {found}; expected cells, low, high")
        made["pasted"] = rectangles(stream(key, "recombined"), image.shape[0], **settings)
        if image.shape[1] % settings["cells"]:
            raise UserError(f"config.view.cells is {settings['cells']}; expected a divisor of {image.shape[1]} pixels")
        repeats = image.shape[1] // made["pasted"].shape[1]
        pixels = jnp.repeat(jnp.repeat(made["pasted"], repeats, 1), repeats, 2)[..., None]
        made["other"] = jnp.where(pixels > 0.5, jnp.roll(image, 1, axis=0), image)
    elif name:
        raise UserError(f"config.view.name is {name!r}; expected relit, warped, recombined or none")
    return made


def rectangles(key: jax.Array, count: int, cells: int, low: float, high: float) -> jax.Array:
    """Random rectangles of whole cells, f32 [count,cells,cells], sides `low` to `high` of the whole, wrapped round.

    >>> rectangles(jax.random.key(0), 2, 4, 0.5, 0.5).sum((1, 2)).tolist()
    [4.0, 4.0]
    """
    sides, starts = jax.random.uniform(key, (2, count, 2))
    side = jnp.round(cells * (low + (high - low) * sides))
    start = jnp.floor(cells * starts)
    inside = (jnp.arange(cells) - start[..., None]) % cells < side[..., None]  # [count,2,cells]
    return (inside[:, 0, :, None] & inside[:, 1, None]).astype(jnp.float32)


def joined(seen: Batch) -> Batch:
    """The first views and, after them, the second ones as one batch of the model."""
    made = {}
    for name, other in (("image", "other"), ("features", "other_features")):
        if name in seen:
            made[name] = jnp.concatenate([seen[name], seen[other]]) if other in seen else seen[name]
    return made


def classification_loss(
    task: Classify,
    settings: Mapping[str, Any],
    params: Tree,
    model_state: Tree,
    loss_state: Tree,
    batch: Batch,
    key: jax.Array,
) -> tuple[Terms, Aux]:
    """Cross entropy with the class or, where images show less than one class, the exact posterior; further terms."""
    batch = batch if "features" in batch else shown(task, batch, key)
    both, new_state = task.forward(params, model_state, joined(batch), key, settings["mode"] == "train")
    count = batch["label"].shape[0]
    outputs, other = (jax.tree.map(lambda x, at=at: x[at], both) for at in (slice(count), slice(count, None)))
    seen = Seen(
        task.config,
        params,
        model_state,
        outputs,
        batch["target"],
        batch["label"],
        batch.get("image"),
        other if "other" in batch or "other_features" in batch else None,
        batch.get("warp"),
        batch.get("pasted"),
        task.model,
        batch.get("group"),
    )
    assert outputs.logits is not None
    transform = LOGITS[task.config["logits"]]
    entropy = softmax_cross_entropy(transform(outputs.logits), batch["target"], task.config["label_smoothing"])
    value, loss_state, numbers = objective_of(task.config)(entropy, batch, loss_state)
    correct = (outputs.logits.argmax(-1) == batch["label"]).mean()
    weights = {**task.config["losses"], **settings.get("losses", {})}
    aux = Aux(new_state, loss_state, {"accuracy": correct, **numbers})
    return {"classification": (value, 1.0), **terms(seen, weights)}, aux


Objective = Callable[[jax.Array, Batch, Tree], tuple[jax.Array, Tree, dict[str, jax.Array]]]
"""(cross entropies [B], what the step reads, loss state) -> (the loss, the next loss state, numbers to log)."""


def erm(entropy: jax.Array, batch: Batch, loss_state: Tree) -> tuple[jax.Array, Tree, dict[str, jax.Array]]:
    """Empirical risk minimisation: the mean over the images."""
    return entropy.mean(), loss_state, {}


def groupdro(
    entropy: jax.Array, batch: Batch, loss_state: Tree, step_size: float
) -> tuple[jax.Array, Tree, dict[str, jax.Array]]:
    """The worse of two groups counts more: images in their class's habitat, and images in another.

    Batches have as many of either (`EqualGroups`; the source draws them with replacement). The cross entropies are
    taken as they are. One with an exact posterior is never under that posterior's entropy, which differs from image to
    image but not, on average, from group to group: parts lack whatever the habitat is. Where too few parts are left to
    name the class, the posterior itself goes by the habitat, in both groups.
    """
    groups = 1 - batch["matched"].astype(jnp.int32)
    value, weights = group_dro(entropy, groups, loss_state["group_weights"], step_size)
    return value, {**loss_state, "group_weights": weights}, {"conflicting_weight": weights[1]}


OBJECTIVES = {"erm": erm, "groupdro": groupdro}


def objective_of(config: Mapping[str, Any]) -> Objective:
    """What a run makes of the cross entropies of a batch."""
    settings = dict(config["objective"])
    made = lookup(OBJECTIVES, settings.pop("name"), "objective")
    return functools.partial(made, **settings)


def by_groups(config: Mapping[str, Any]) -> bool:
    """Whether a run tells images in their class's habitat from those in another."""
    return config["objective"]["name"] == "groupdro"


def start_loss_state(state: TrainState) -> Tree:
    """The weights of the two groups of `groupdro` before the first step."""
    return {"group_weights": start_group_weights(2)}


LOGITS = {"plain": lambda logits: logits, "squared_log": squared_log}
"""What the cross entropy reads of the logits; predictions are the same."""


def stages(task: Classify) -> list[Stage]:
    """The stages of the config with at least one step, in the order of `STAGES`."""
    config, until = task.config, 0
    made: list[Stage] = []
    if unknown := sorted(set(config["stages"]) - set(STAGES)):
        raise UserError(f"unknown stage {unknown[0]!r}; known: {', '.join(STAGES)}")
    groups = by_groups(config)
    for name in STAGES:
        settings = config["stages"].get(name)
        if not settings or not settings["steps"]:
            continue
        until += settings["steps"]
        loss = functools.partial(classification_loss, task, settings)
        trainable = classify_photos.trainable(config, settings["trainable"])
        trainable = trainable if task.backbone is None else f"(?!backbone/)(?:{trainable})"
        at_end = settings.get("at_end", "")
        made.append(
            Stage(
                name,
                until,
                loss,
                batches(task, settings),
                dict(settings["optimizer"]),
                trainable,
                at_end=functools.partial(lookup(AT_END, at_end, "end of a stage"), task) if at_end else None,
                # The weights of groups go on from stage to stage.
                init_loss_state=start_loss_state if groups and not made else None,
                project=projection(settings),
            )
        )
    return made


def projection(settings: Mapping[str, Any]) -> Callable[[Tree], Tree] | None:
    """What brings the parameters back after each step of a stage; None where nothing does."""
    shrink, renormalise = settings.get("shrink", 0.0), settings.get("renormalise", False)
    return functools.partial(projected, shrink, renormalise) if shrink or renormalise else None


def projected(shrink: float, renormalise: bool, params: Tree) -> Tree:
    """The parameters after the projections that a stage has."""
    params = shrunk(shrink, params) if shrink else params
    return renormalised(params) if renormalise else params


QUERIES = ("queries", "prototypes", "centres")
"""What part methods call the vectors that locations are compared with."""


def renormalised(params: Tree) -> Tree:
    """The parameters with the queries of the part method at length one."""
    method = params.get("method", {})
    name = next((name for name in QUERIES if name in method), "")
    if not name:
        raise UserError("a stage has renormalise=true and the part method no queries; expected one that has some")
    return {**params, "method": {**method, name: unit(method[name])}}


def shrunk(amount: float, params: Tree) -> Tree:
    """The parameters with the weights of the head brought towards zero, and negative ones made zero."""
    return {**params, "head": {**params["head"], "kernel": shrink_kernel(params["head"]["kernel"], amount)}}


def batches(task: Classify, settings: Mapping[str, Any]) -> Any:
    """Batches of the training images, or of their features where the backbone is given.

    Those of `groupdro` have as many images of either group.
    """
    how = settings["batch_size"], task.config["seed"]
    order: TrainBatches | EqualGroups = shuffled(len(task.data.train), *how)
    if by_groups(task.config):
        order = balanced(task.train_conflicts, *how)
    return ClassBatches(task.data.train, order) if task.backbone is None else FeatureBatches(task, order)


class FeatureBatches:
    """Batch t of the training images' features, with their labels, targets and groups."""

    def __init__(self, task: Classify, order: TrainBatches | EqualGroups):
        self.task, self.order = task, order

    def __getitem__(self, t: int) -> Batch:
        index = self.order[t]["index"]
        return jax.tree.map(lambda column: column[index], self.task.train_columns)


def train(task: Classify, workdir: pathlib.Path | None) -> TrainState:
    """Trains through the stages of the config; the same workdir resumes."""
    every = task.config["train"]["validate_every"]
    hooks = Hooks(on_step=[Every(every, functools.partial(validate, task))]) if every else Hooks()
    settings = {k: v for k, v in task.config["train"].items() if k != "validate_every"}
    init = task.start()
    if alternates(task.config):
        init = functools.partial(with_detectors, task.init, alternated(task))
    ahead = [dataclasses.replace(stage, batches=Prefetched(stage.batches)) for stage in stages(task)]
    return fit(ahead, init, Settings(seed=task.config["seed"], **settings), workdir, hooks)


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
