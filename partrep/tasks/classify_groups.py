"""Parts that belong to classes, or to groups of images that stand in for classes; detectors by alternation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup
from partrep.discovery.assignment import fit_assigned_parts, image_groups
from partrep.train.state import Tree

LABELS = {
    "shared": "parts are of all images",
    "class": "each part is of the images of one class",
    "groups": "each part is of one group of training images that look alike, found without labels",
}
DETECTORS = {
    "learned": "detectors are trained with the rest",
    "alternation": "detectors start from those that alternation fits to the features of a given backbone",
}
MOST_FITTED = 20
"""Training images of each class or group that alternation fits detectors to."""


def labels_of(config: Mapping[str, Any]) -> str:
    """Whose the parts are, a key of `LABELS`."""
    return config.get("labels", "shared")


def alternates(config: Mapping[str, Any]) -> bool:
    """Whether detectors come from alternation."""
    return config.get("detectors", "learned") == "alternation"


def check_groups(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` where parts cannot belong to what the config says, or be found as it says."""
    labels, method = labels_of(config), config["model"]["method"]
    lookup(LABELS, labels, "config.labels")
    lookup(DETECTORS, config.get("detectors", "learned"), "config.detectors")
    for name, needs in (("labels", labels == "groups"), ("detectors", alternates(config))):
        if needs and not config["backbone_from"]:
            wanted = "expected --config.backbone_from=WORKDIR, whose features are read"
            raise UserError(f"config.{name} is {config[name]} and config.backbone_from is empty; {wanted}")
    if method.get("groups", 1) > 1 and config["model"].get("readout"):
        found = "an isolated read-out with parts in groups, which may lie on one another where masks may not"
        raise UserError(f"found {found}; expected labels=shared or readout=ordinary")
    if alternates(config) and (labels == "shared" or method.get("whiten")):
        found = f"labels={labels}, model.method.whiten={method.get('whiten')}"
        wanted = "labels=class or labels=groups, and detectors not whitened twice"
        raise UserError(f"found detectors=alternation with {found}; expected {wanted}")


def check_class_count(config: Mapping[str, Any], classes: int) -> None:
    """Raises a `UserError` where parts belong to classes and are not in one group for each."""
    groups = config["model"]["method"].get("groups", 1)
    if labels_of(config) == "class" and groups != classes:
        raise UserError(f"config.model.method.groups is {groups} with labels=class; expected {classes}, one a class")


def train_groups(task: Any) -> np.ndarray:
    """i32 [n]: the group of each training image, by k-means of the mean features of the given backbone."""
    vectors = task.train_features["features"].mean(axis=(1, 2), dtype=np.float32)
    groups = image_groups(vectors, task.config["model"]["method"]["groups"], task.config["seed"])
    return groups.astype(np.int32)


def alternated(task: Any) -> np.ndarray:
    """Detectors f32 [K,D] by alternation, group by group.

    Source: Sicre et al. (2017, arXiv 1611.04413). Departure: of at most `MOST_FITTED` images of each class or group,
    of a class those that show it best (a bird may lack the parts that tell its class).
    """
    columns, method = task.train_columns, task.config["model"]["method"]
    owner, order = columns["label"], np.arange(len(columns["label"]))
    if labels_of(task.config) == "groups":
        owner = columns["group"]
    else:
        order = np.argsort(-columns["target"][order, owner], kind="stable")
    chosen = [order[owner[order] == group][:MOST_FITTED] for group in range(method["groups"])]
    if empty := [group for group, images in enumerate(chosen) if not len(images)]:
        raise UserError(f"group {empty[0]} of {method['groups']} has no training image; expected fewer groups")
    index = np.concatenate(chosen)
    each = method["parts"] // method["groups"]
    return fit_assigned_parts(columns["features"][index], owner[index], each, task.config["seed"])


def with_detectors(init: Callable[[jax.Array], dict[str, Tree]], detectors: np.ndarray, key: jax.Array) -> Any:
    """The variables that `init` makes, with detectors [K,D] as the queries of the part method."""
    made = init(key)
    method = {**made["params"]["method"], "queries": jnp.asarray(detectors)}
    return {**made, "params": {**made["params"], "method": method}}
