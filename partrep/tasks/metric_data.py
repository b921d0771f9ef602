"""The data of metric learning, with disjoint classes, and the model that fits them.

In: a config. Out: the sets of train, validation and novel classes, and the recipe of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.data import features, imageset
from partrep.data import fewshot as fewshot_data
from partrep.data.fewshot import FewshotData, split_classes
from partrep.data.imageset import ImageSet
from partrep.data.transforms import WarpSettings
from partrep.models.part_model import build
from partrep.models.pretrained.load import load_pretrained
from partrep.tasks import classify_photos
from partrep.train import sharding
from partrep.train.settings import from_mapping


class Made(NamedTuple):
    """The sets, and what the model is built of."""

    data: FewshotData
    recipe: Mapping[str, Any]


def load(config: Mapping[str, Any]) -> Made:
    """What a config names: stored or rendered images, or photos as features of a pretrained network."""
    if config["data"]["name"] == "photos":
        return _photos(config)
    return Made(fewshot_data.load(config["data"]), config["model"])


LEAST_CLASSES = 15


def _photos(config: Mapping[str, Any]) -> Made:
    """Photos of disjoint classes: three fifths of the classes to train on, one to validate, one to report."""
    if "pretrained" not in config:
        raise UserError("data 'photos' needs config.pretrained; expected source=photos")
    classify_photos.check_paths(config)
    settings = {**config["data"]}
    pretrained = load_pretrained(config["pretrained"]["weights"], config["pretrained"]["family"])
    photos = classify_photos.open_photos(settings)
    count = len(photos.classes)
    if count < LEAST_CLASSES:
        raise UserError(f"found {count} classes in {settings['dir']}; expected at least {LEAST_CLASSES}")
    view = classify_photos.view_of(pretrained.preprocessing, settings["size"])
    recipe = classify_photos.recipe_of(config, pretrained)
    model = build(recipe, count, sharding.compute_dtype(config["dtype"]))
    key = {**classify_photos.key_of(photos, pretrained, view), "dtype": str(jnp.dtype(model.backbone.dtype))}
    encode = classify_photos.encoder(model, pretrained.variables)
    folder = classify_photos.cache_folder(settings)
    kept = features.cached(folder, key, len(photos), lambda i: photos.photo(i, view=view), encode)
    warp = from_mapping(WarpSettings, settings["warp"])

    def pictures(indices: np.ndarray) -> np.ndarray:
        return np.stack([photos.photo(i, view=view) for i in indices.tolist()])

    def of(classes: np.ndarray, warp: WarpSettings | None = None) -> ImageSet:
        chosen = np.flatnonzero(np.isin(photos.labels, classes))
        names = [photos.classes[c] for c in np.sort(classes)]
        labels = np.searchsorted(np.sort(classes), photos.labels)
        return imageset.of_features(kept, labels, names, chosen, pictures, features.name_of(key), warp)

    base, validation, novel = split_classes(count, settings["class_seed"])
    return Made(FewshotData(of(base, warp), of(base), of(validation), of(novel), channels=3), recipe)
