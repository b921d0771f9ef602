"""Photos to classify by parts of a pretrained network's features, which are computed once and stay as they are.

In: a config with `data` and `pretrained`. Out: the sets of features, the model, the variables of its backbone.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup
from partrep.data import cub, features, imageset, pets
from partrep.data.classify import ClassifyData
from partrep.data.decode import View
from partrep.data.imageset import ImageSet
from partrep.data.photo_splits import split
from partrep.data.photos import PhotoSet, from_folder, joined
from partrep.data.transforms import WarpSettings
from partrep.data.view_truth import ViewTruth, truth_in_view
from partrep.discovery.kmeans import fit_directions
from partrep.models.part_model import PartModel, build
from partrep.models.pretrained.families import FAMILIES
from partrep.models.pretrained.load import Pretrained, load_pretrained
from partrep.models.pretrained.preprocessing import Preprocessing
from partrep.tasks.batches import spaced
from partrep.train import sharding
from partrep.train.settings import from_mapping
from partrep.train.state import Tree

CACHE = "~/.cache/partrep"
"""Where features are kept unless PARTREP_CACHE or `config.data.cache` says otherwise."""


class Made(NamedTuple):
    """What a config of photos names.

    `recipe`: what the model was built of. `pretrained`: the variables of its backbone.
    """

    data: ClassifyData
    model: PartModel
    recipe: dict[str, Any]
    pretrained: dict[str, Tree]


def make(config: Mapping[str, Any]) -> Made:
    """Reads the weights and the photos, and computes the features where the backbone is frozen."""
    settings = {**config["data"]}
    check_paths(config)
    pretrained = load_pretrained(config["pretrained"]["weights"], config["pretrained"]["family"])
    photos = open_photos(settings)
    view = view_of(pretrained.preprocessing, settings["size"])
    recipe = recipe_of(config, pretrained)
    if config["pretrained"]["trained"] == "tokens" and recipe["backbone"]["name"] != "vit":
        raise UserError(f"backbone=tokens with the family {pretrained.family}; expected a transformer")
    model = build(recipe, len(photos.classes), sharding.compute_dtype(config["dtype"]))
    if settings["resplit"] < 0:
        settings["resplit"] = config["seed"]
    kept, key = None, {**key_of(photos, pretrained, view), "dtype": str(jnp.dtype(model.backbone.dtype))}
    if frozen(config):
        show, encode = functools.partial(photos.photo, view=view), encoder(model, pretrained.variables)
        kept = features.cached(cache_folder(settings), key, len(photos), show, encode)
    return Made(sets(settings, photos, view, kept, features.name_of(key)), model, recipe, pretrained.variables)


TRAINED = {
    "frozen": "its features are computed once, and the rest is trained on them",
    "tokens": "its class and register tokens and its positions are trained with the rest, on the photos",
    "all": "it is trained with the rest, on the photos",
}
TOKENS = "(?!backbone/).*|backbone/(cls_token|register_tokens|position_embedding)"


def frozen(config: Mapping[str, Any]) -> bool:
    """Whether nothing of the backbone is trained."""
    trained = config["pretrained"]["trained"]
    lookup(TRAINED, trained, "config.pretrained.trained")
    return trained == "frozen"


def trainable(config: Mapping[str, Any], pattern: str) -> str:
    """The paths that a stage of this pattern trains."""
    tokens = config.get("pretrained", {}).get("trained") == "tokens"
    return f"(?=(?:{pattern})$)(?:{TOKENS})" if tokens else pattern


def check_paths(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` where the photos or the weights are not named."""
    wanted = {
        "data.dir": (config["data"]["dir"], "a folder, zip or tar of photos"),
        "pretrained.weights": (config["pretrained"]["weights"], "a file of weights, or hf:OWNER/REPO"),
        "pretrained.family": (config["pretrained"]["family"], f"one of {', '.join(FAMILIES)}"),
    }
    for name, (value, expected) in wanted.items():
        if not value:
            raise UserError(f"config.{name} is empty; expected {expected}: --config.{name}=...")


def open_photos(settings: Mapping[str, Any]) -> PhotoSet:
    """The photos that `data.dir` and, where they lie apart, `data.test` name."""
    return lookup(SOURCES, settings["source"], "config.data.source")(settings)


def recipe_of(config: Mapping[str, Any], pretrained: Pretrained) -> dict[str, Any]:
    """The model of a config with the backbone of the weights, and images as that one takes them."""
    seen = {"mean": pretrained.preprocessing.mean, "std": pretrained.preprocessing.std}
    return {**config["model"], "backbone": dict(pretrained.backbone), "normalisation": seen}


def view_of(preprocessing: Preprocessing, size: int) -> View:
    """How photos are cut out for a network: as it was trained, in proportion where `size` is another.

    >>> view_of(Preprocessing(256, 224, "bilinear", (0.5,) * 3, (0.5,) * 3), 112)
    View(resize=128, crop=112, interpolation='bilinear')
    """
    return View(round(preprocessing.resize * size / preprocessing.crop), size, preprocessing.interpolation)


def cache_folder(settings: Mapping[str, Any]) -> pathlib.Path:
    """Where features are kept."""
    return pathlib.Path(settings["cache"] or os.environ.get("PARTREP_CACHE") or CACHE).expanduser()


def key_of(photos: PhotoSet, pretrained: Pretrained, view: View) -> dict[str, Any]:
    """What the features of photos depend on."""
    return {
        "photos": photos.fingerprint,
        "weights": pretrained.fingerprint,
        "backbone": {name: repr(value) for name, value in sorted(pretrained.backbone.items())},
        "view": repr(view),
        "preprocessing": repr(pretrained.preprocessing),
    }


def encoder(model: PartModel, variables: Mapping[str, Tree]) -> features.Apply:
    """u8 [b,S,S,3] -> features [b,h,w,D] of the model's backbone; of each process by itself."""
    placed = {collection: {"backbone": tree} for collection, tree in variables.items()}

    def encode(variables: Tree, images: jax.Array) -> jax.Array:
        made = model.apply(variables, images.astype(jnp.float32) / 255.0, method=PartModel.encode)
        assert isinstance(made, jax.Array)
        return made.astype(jnp.float16)

    return sharding.jit_local(encode, placed)


def sets(
    settings: Mapping[str, Any], photos: PhotoSet, view: View, kept: np.ndarray | None, digest: str
) -> ClassifyData:
    """The three sets of a split, of kept features or of the photos themselves.

    With `fit=all` the validation photos are trained on as well.
    """
    amounts = settings["test_share"], settings["per_class"], settings["validation_share"]
    parts = split(photos, settings["split"], settings["resplit"], *amounts)
    warp = from_mapping(WarpSettings, settings["warp"]) if settings["warp"] else None
    everything = np.concatenate([parts.train, parts.validation])
    train = {"all": everything, "part": parts.train}
    fitted = lookup(train, settings["fit"], "config.data.fit")

    def pictures(indices: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(functools.partial(photos.photo, view=view), indices.tolist())))

    def made(chosen: np.ndarray, warp: WarpSettings | None = None) -> ImageSet:
        about = photos.labels, photos.classes, chosen, pictures, digest, warp
        images = imageset.of_photos(*about) if kept is None else imageset.of_features(kept, *about)
        return dataclasses.replace(images, annotations=functools.partial(_marked, photos, chosen, view))

    return ClassifyData(made(fitted, warp), made(parts.validation), made(parts.test), {}, None, "", 3, view)


def _marked(photos: PhotoSet, chosen: np.ndarray, view: View, indices: np.ndarray) -> ViewTruth | None:
    return truth_in_view(photos, chosen[indices], view)


def _folder(settings: Mapping[str, Any]) -> PhotoSet:
    if not settings["test"]:
        return from_folder(settings["dir"])
    return joined(settings["dir"], settings["test"], settings["drop_copies"])


def _pets(settings: Mapping[str, Any]) -> PhotoSet:
    return pets.load(settings["dir"])


def _cub(settings: Mapping[str, Any]) -> PhotoSet:
    return cub.load(settings["dir"])


SOURCES = {"folder": _folder, "pets": _pets, "cub": _cub}


STARTED = 256
"""Training photos whose features prototypes start from."""


def _clusters(method: Tree, images: ImageSet, seed: int) -> Tree:
    """Prototypes at the directions that the training features cluster in, the background at the rim's commonest."""
    if "prototypes" not in method or not images.grid:
        wanted = "expected a part method with prototypes, on a frozen backbone"
        raise UserError(f"config.start is clusters, and there are no prototypes or no kept features; {wanted}")
    maps = images.load(spaced(images, STARTED))["grid"]
    return {**method, "prototypes": fit_directions(maps, method["prototypes"].shape[0], seed)}


def _mean(method: Tree, images: ImageSet, seed: int) -> Tree:
    """A token that looks everywhere alike, as global pooling does."""
    if "stream" not in method:
        raise UserError("config.start is mean, and the part method has no token; expected ca_stream")
    return {**method, "stream": {**method["stream"], "token": np.zeros(method["stream"]["token"].shape, np.float32)}}


STARTS = {"clusters": _clusters, "mean": _mean}
"""Where the parameters of a part method start, if not where the method has them."""


def started(variables: dict[str, Tree], name: str, images: ImageSet, seed: int) -> dict[str, Tree]:
    """Variables at step 0 with the part method's parameters where `STARTS[name]` puts them, if anywhere."""
    if not name:
        return variables
    method = lookup(STARTS, name, "config.start")(variables["params"].get("method", {}), images, seed)
    return {**variables, "params": {**variables["params"], "method": method}}
