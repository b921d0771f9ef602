"""What an open-set run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from partrep import UserError, lookup
from partrep.data.imageset import ImageSet
from partrep.evaluate.openset import SCORES
from partrep.tasks import openset
from partrep.tasks.batches import spaced
from partrep.tasks.check import check_numbers, trace_stages

HEADS = {"arpl": "reciprocal", "reconstruction": "autoencoders", "attributes": "attributes"}
"""The head whose parameters or contributions an objective reads."""


def check_settings(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` at the first setting that no run can have."""
    for name in ("trials", "compared"):
        if not config[name] or len(set(config[name])) < len(config[name]):
            raise UserError(f"config.{name} is {tuple(config[name])}; expected different ones, one at least")
    check_numbers(config, best="")
    for method in config["compared"]:
        own = openset.of_method(config, method)
        check_objective(method, own)
        check_scores(method, own["scores"])
    rows = [row for method in config["compared"] for row, _ in config["methods"][method]["scores"]]
    if twice := sorted({row for row in rows if rows.count(row) > 1}):
        raise UserError(f"config.methods has two scores named {twice[0]!r}; expected different names")


def check_objective(method: str, own: Mapping[str, Any]) -> None:
    """Raises a `UserError` where a method has not the head or the weight that its objective reads."""
    objective, head = own["objective"], own["model"]["head"]["name"]
    lookup(openset.OBJECTIVES, objective, "objective")
    if head != HEADS.get(objective, head):
        found = f"config.methods.{method} has objective {objective!r} and head {head!r}"
        raise UserError(f"{found}; expected the head {HEADS[objective]!r}")
    if objective == "reconstruction" and "own_error" not in own:
        raise UserError(f"config.methods.{method} has objective 'reconstruction'; expected own_error=WEIGHT besides")


def check_scores(method: str, scores: Any) -> None:
    """Raises a `UserError` unless these are pairs of the name of a row and a score."""
    found = f"config.methods.{method}.scores is {scores!r}"
    if not scores or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in scores):
        raise UserError(f"{found}; expected one or more of (NAME, SCORE)")
    for _, score in scores:
        if score not in SCORES:
            raise UserError(f"{found}: unknown score {score!r}; known: {', '.join(SCORES)}")


def check_tasks(config: Mapping[str, Any]) -> None:
    """Reads the data of every trial and traces a step of every method; raises what they would raise."""
    for trial in config["trials"][1:]:
        openset.openset_data.load({**config["data"], "warp": {}}, trial)
    for method in config["compared"]:
        task = openset.make(config, method, config["trials"][0])
        trace_stages(openset.stages(task), task.init, task.config)
    check_fitted(task.data.train, config["evaluation"]["openmax_images"])


def check_fitted(images: ImageSet, most: int) -> None:
    """Raises a `UserError` where OpenMax would be fitted to fewer than two images of a class."""
    found = np.bincount(images.labels[spaced(images, most)], minlength=images.classes).min()
    if found < 2:
        raise UserError(f"config.evaluation.openmax_images is {most}: {found} of a class; expected at least 2 of each")
