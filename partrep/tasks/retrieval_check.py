"""What a retrieval run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from partrep import UserError, lookup
from partrep.tasks import metric_check
from partrep.tasks.metric import PAIR_LOSSES, RANKS
from partrep.tasks.retrieval import Retrieval, side_at
from partrep.tasks.retrieval_evaluation import SOUGHT

LEAST = {"fitting": 8, "queries": 0, "side_of": 1}
"""Of the numbers of `evaluation` that only this task has."""


def check_settings(config: Mapping[str, Any]) -> None:
    """Raises a `UserError` at the first setting that no run can have."""
    metric_check.check_settings(config)
    lookup(SOUGHT, config["data"]["name"], "data to retrieve")
    if config["loss"]["name"] not in PAIR_LOSSES:
        raise UserError(f"config.loss is {config['loss']['name']}; expected a loss of pairs: {', '.join(PAIR_LOSSES)}")
    if config["comparison"] != "embedding":
        found = f"config.comparison is {config['comparison']!r}"
        raise UserError(f"{found}; expected 'embedding': what is searched is one vector an image")
    for name, least in LEAST.items():
        if (value := config["evaluation"][name]) < least:
            raise UserError(f"config.evaluation.{name} is {value}; expected at least {least}")
    check_scales(config["evaluation"]["scales"])


def check_scales(scales: Any) -> None:
    """Raises a `UserError` unless these are scales of the size, the first of them 1."""
    if not len(scales) or scales[0] != 1 or min(scales) <= 0 or len(set(scales)) < len(scales):
        raise UserError(f"config.evaluation.scales is {tuple(scales)}; expected 1 and other numbers above 0")


def check_task(task: Retrieval) -> None:
    """Traces the step, the descriptor at every scale and the comparison; raises what they would raise."""
    metric_check.check_task(task)
    if task.data.validation is None:
        raise UserError(f"data {task.config['data']['name']!r} has no validation classes; expected some to choose with")
    metric_check.check_searchable(task.data.validation, "validation", max(RANKS))
    scales = task.config["evaluation"]["scales"]
    if len(scales) > 1 and task.data.train.grid:
        wanted = "expected --config.evaluation.scales='(1.0,)'"
        raise UserError(f"config.evaluation.scales has {len(scales)} scales of features that are kept at one; {wanted}")
    variables = jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0)))
    for side in (side_at(task.config, scale) for scale in scales[1:]):
        jax.eval_shape(task.outputs, variables, jnp.zeros((1, side, side, task.data.channels)))
