"""The retrieval task from end to end: make, check, train, evaluate."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from partrep.tasks import retrieval, retrieval_revisited, retrieval_revisited_evaluation
from partrep.tasks.metric_run import run
from partrep.tasks.outcome import Outcome
from partrep.tasks.retrieval_check import check_settings, check_task
from partrep.tasks.retrieval_evaluation import evaluate


def prepare(config: Mapping[str, Any]) -> Callable[[pathlib.Path], Outcome]:
    """Reads the data, builds the model and raises what is wrong with them; writes nothing.

    Returns the function that trains in a workdir and evaluates.
    """
    if config["data"]["name"] == "revisited":
        return functools.partial(retrieval_revisited_evaluation.evaluate, retrieval_revisited.make(config))
    check_settings(config)
    task = retrieval.make(config)
    check_task(task)
    return functools.partial(run, evaluate, task)
