"""What a metric learning run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax

from partrep import UserError, lookup, losses
from partrep.models.comparisons import COMPARISONS
from partrep.tasks import metric
from partrep.tasks.check import check_numbers, trace_stages
from partrep.tasks.metric import PAIR_LOSSES, PROXY_LOSSES, Metric

GIVEN = ("embeddings", "labels", "proxies", "centres", "where", "similarity", "block")
"""Arguments of the losses that the task gives."""


def check_settings(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` at the first setting that no run can have."""
    check_numbers(config)
    lookup(COMPARISONS, config["comparison"], "comparison")
    check_loss(config["loss"])
    if set(config["stages"]) != {"metric"}:
        raise UserError(f"stages {', '.join(config['stages'])}; expected metric")
    if not config["stages"]["metric"]["steps"]:
        raise UserError("config.stages.metric.steps is 0; expected at least 1")


def check_loss(settings: Mapping[str, Any]) -> None:
    """Raises a `UserError` at an unknown loss, or a setting that it does not have."""
    name = settings["name"]
    known = dict.fromkeys((*PAIR_LOSSES, *PROXY_LOSSES))
    lookup(known, name, "loss")
    function = cast(Callable[..., Any], losses.LOSSES[name])
    fields = [field for field in inspect.signature(function).parameters if field not in GIVEN]
    fields += ["centres", "centre_spread"] if name == "soft_triple" else ["block"] if name in PAIR_LOSSES else []
    if unknown := sorted(set(settings) - {"name", *fields}):
        raise UserError(f"config.loss has {unknown[0]!r}, which {name!r} does not take; expected {', '.join(fields)}")
    if name == "soft_triple" and not settings.get("centres"):
        raise UserError("config.loss soft_triple without centres; expected how many a class, such as 4")


def check_task(task: Metric) -> None:
    """Traces the step, the comparison and the evaluation; raises what they would raise."""
    if task.data.novel is None:
        raise UserError(f"data {task.config['data']['name']!r} has no novel classes; expected some to report")
    state = trace_stages(metric.stages(task), task.init, task.config)
    images = task.data.novel

    def apply(variables: Any, batch: Any) -> Any:
        kept = task.comparison.keep(task.outputs(variables, images.decode(batch, None)))
        return task.comparison.similarity(kept, kept)

    jax.eval_shape(apply, state.eval_variables, images.load(images.labels[:2] * 0))
