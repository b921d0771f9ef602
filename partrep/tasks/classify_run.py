"""The classification task from end to end: make, check, train, evaluate."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from partrep.tasks import classify
from partrep.tasks.classify_bank import BACKBONE, BANK, card_of, make_bank, save_backbone
from partrep.tasks.classify_check import check_settings, check_task
from partrep.tasks.classify_evaluation import evaluate
from partrep.tasks.outcome import Outcome, best_variables, count_test_evaluations
from partrep.train import sharding
from partrep.train.state import Tree


def prepare(config: Mapping[str, Any]) -> Callable[[pathlib.Path], Outcome]:
    """Reads the data, builds the model and raises what is wrong with them; writes nothing.

    Returns the function that trains in a workdir and evaluates.
    """
    check_settings(config)
    task = classify.make(config)
    check_task(task)
    return functools.partial(run, task)


def run(task: classify.Classify, workdir: pathlib.Path) -> Outcome:
    """Trains in `workdir` and evaluates the last state or, where `train.best` names a number, the best one."""
    state = classify.train(task, workdir)
    count = functools.partial(count_test_evaluations, workdir)
    variables = best_variables(workdir, state)
    outcome = evaluate(task, variables, count)
    keep(task, variables, outcome.results["test/accuracy"], workdir)
    return outcome


def keep(task: classify.Classify, variables: Tree, accuracy: float, workdir: pathlib.Path) -> None:
    """Leaves what explaining a photo needs; of data that are made and not stored, the patches are made again then."""
    bank = make_bank(task, variables) if task.pretrained is not None else None
    if not sharding.is_writer():
        return
    if bank is not None:
        bank.save(workdir / BANK)
    if task.pretrained is not None and task.data.train.grid:
        save_backbone(task.pretrained, workdir / BACKBONE)
    card_of(task, accuracy).save(workdir)
