"""What a metric learning run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError, lookup, losses
from partrep.data.imageset import ImageSet
from partrep.losses.pairs import cosine
from partrep.models.comparisons import COMPARISONS
from partrep.tasks import metric
from partrep.tasks.check import check_numbers, trace_stages
from partrep.tasks.metric import LOCAL_LOSSES, PAIR_LOSSES, PROXY_LOSSES, RANKS, Metric, loss_of

ONE_VECTOR = ("joined", "embedding", "pooled", "best_match")
"""Comparisons whose one vector an image losses with proxies may train; of `best_match` the mean of the local ones."""
OF_PARTS = ("aligned", "joined", "best_match", "reciprocal")
"""Comparisons that keep the vectors of parts."""
GIVEN = ("embeddings", "features", "labels", "proxies", "centres", "where", "similarity", "block")
"""Arguments of the losses that the task gives."""


def check_settings(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` at the first setting that no run can have."""
    check_numbers(config, best="validation/map@r")
    lookup(COMPARISONS, config["comparison"], "comparison")
    check_loss(config["loss"])
    if config["loss"]["name"] in PROXY_LOSSES and config["comparison"] not in ONE_VECTOR:
        found = f"{config['loss']['name']} with comparison {config['comparison']!r}"
        raise UserError(f"config.loss is {found}; expected one of one vector an image: {', '.join(ONE_VECTOR)}")
    if config["loss"]["name"] in LOCAL_LOSSES and config["comparison"] not in OF_PARTS:
        found = f"{config['loss']['name']} with comparison {config['comparison']!r}"
        raise UserError(f"config.loss is {found}; expected one that keeps parts: {', '.join(OF_PARTS)}")
    if set(config["stages"]) != {"metric"}:
        raise UserError(f"stages {', '.join(config['stages'])}; expected metric")
    if not config["stages"]["metric"]["steps"]:
        raise UserError("config.stages.metric.steps is 0; expected at least 1")


def check_loss(settings: Mapping[str, Any]) -> None:
    """Raises a `UserError` at an unknown loss, a setting that it does not have, or a value that it refuses."""
    name = settings["name"]
    lookup(dict.fromkeys((*PAIR_LOSSES, *PROXY_LOSSES, *LOCAL_LOSSES)), name, "loss")
    function = cast(Callable[..., Any], losses.LOSSES[name])
    fields = [field for field in inspect.signature(function).parameters if field not in GIVEN]
    fields += ["centres", "centre_spread"] if name == "soft_triple" else ["block"] if name not in PROXY_LOSSES else []
    if unknown := sorted(set(settings) - {"name", *fields}):
        raise UserError(f"config.loss has {unknown[0]!r}, which {name!r} does not take; expected {', '.join(fields)}")
    if name == "soft_triple" and settings.get("centres", 0) < 1:
        raise UserError("config.loss soft_triple without centres; expected how many a class, such as 2")
    x, labels = jnp.zeros((4, 2)), jnp.zeros(4, int)
    kept = (x[:, None], jnp.ones((4, 1))) if name in LOCAL_LOSSES else x
    proxies = None if name not in PROXY_LOSSES else x[:, None] if name == "soft_triple" else x
    try:
        jax.eval_shape(lambda: loss_of(settings, kept, labels, cosine, proxies))
    except (ValueError, TypeError) as error:
        raise UserError(f"config.loss: {error}") from error


def check_task(task: Metric) -> None:
    """Traces the step, the comparison and the evaluation; raises what they would raise."""
    if task.data.novel is None:
        raise UserError(f"data {task.config['data']['name']!r} has no novel classes; expected some to report")
    check_searchable(task.data.novel, "novel", max(RANKS))
    if task.config["train"].get("validate_every") and task.data.validation is not None:
        check_searchable(task.data.validation, "validation", 1)
    state = trace_stages(metric.stages(task), task.init, task.config)
    images = task.data.novel

    def apply(variables: Any, batch: Any) -> Any:
        kept = task.comparison.keep(task.outputs(variables, images.decode(batch, None)))
        return task.comparison.similarity(kept, kept)

    jax.eval_shape(apply, state.eval_variables, images.load(images.labels[:2] * 0))


def check_searchable(images: ImageSet, name: str, ranks: int) -> None:
    """Raises a `UserError` where no image has one of its class to find, or a rank is asked for that is not there."""
    if len(images) <= ranks:
        raise UserError(f"found {len(images)} images of {name} classes; expected more than {ranks}, to rank as many")
    if np.bincount(images.labels).max() < 2:
        raise UserError(f"every {name} class has one image; expected some with two, so that there is one to find")
