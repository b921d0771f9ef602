"""The metric learning task from end to end: make, check, train, evaluate."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from partrep.tasks import metric
from partrep.tasks.metric_check import check_settings, check_task
from partrep.tasks.metric_evaluation import evaluate
from partrep.tasks.outcome import Outcome, best_variables, count_test_evaluations


def prepare(config: Mapping[str, Any]) -> Callable[[pathlib.Path], Outcome]:
    """Reads the data, builds the model and raises what is wrong with them; writes nothing.

    Returns the function that trains in a workdir and evaluates.
    """
    check_settings(config)
    task = metric.make(config)
    check_task(task)
    return functools.partial(run, evaluate, task)


def run(evaluate: Callable[..., Outcome], task: metric.Metric, workdir: pathlib.Path) -> Outcome:
    """Trains in `workdir` and evaluates the last state or, where `train.best` names a number, the best one."""
    state = metric.train(task, workdir)
    count = functools.partial(count_test_evaluations, workdir)
    return evaluate(task, best_variables(workdir, state), count)
