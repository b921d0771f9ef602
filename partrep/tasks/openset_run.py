"""The open-set task from end to end: make, check, then train and evaluate every method in every trial."""

from __future__ import annotations

import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from partrep.report.content import Fooled
from partrep.tasks import openset, openset_check
from partrep.tasks.openset_evaluation import Scored, named_rows, outcome, read, score
from partrep.tasks.openset_pictures import pictures
from partrep.tasks.outcome import Outcome, count_test_evaluations
from partrep.train import sharding
from partrep.train.logging import read_metrics
from partrep.train.programs import shared_programs


def prepare(config: Mapping[str, Any]) -> Callable[[pathlib.Path], Outcome]:
    """Reads the data, builds every method's model and raises what is wrong with them; writes nothing.

    Returns the function that trains in a workdir and evaluates.
    """
    openset_check.check_settings(config)
    openset_check.check_tasks(config)
    return functools.partial(run, config)


def run(config: Mapping[str, Any], workdir: pathlib.Path) -> Outcome:
    """Trains each method of each trial in a folder of its own in `workdir`, and evaluates its last state."""
    first = openset.make(config, config["compared"][0], config["trials"][0])
    tests = len(config["trials"]) * len(config["compared"]) * (1 + len(first.data.unknown))
    evaluations = count_test_evaluations(workdir, tests)
    scored: dict[str, list[Scored]] = {method: [] for method in config["compared"]}
    _, compared, by = named_rows(config)[-1]
    fooled: tuple[Fooled, ...] = ()
    with shared_programs():  # those of a method are the same in every trial
        for trial, method in itertools.product(config["trials"], config["compared"]):
            task = openset.make(config, method, trial)
            state = openset.train(task, workdir / f"{method}-{trial}")
            found = read(task, state.eval_variables)
            scored[method].append(score(task, state.eval_variables, found))
            if (trial, method) == (config["trials"][0], compared):
                fooled = pictures(task, state.eval_variables, found, by)
            if sharding.is_writer():
                print(f"trial {trial}, {method}: {said(config, method, scored[method][-1])}", flush=True)
    return outcome(config, scored, first, evaluations, histories(config, workdir), fooled)


def said(config: Mapping[str, Any], method: str, scored: Scored) -> str:
    """The AUROC of the rows that a method has in the results, as a line of the terminal says it."""
    rows = config["methods"][method]["scores"]
    return ", ".join(f"{row} {100 * scored.value(score, 'auroc'):.2f}" for row, score in rows) + " AUROC"


def histories(config: Mapping[str, Any], workdir: pathlib.Path) -> dict[str, list[list[dict[str, Any]]]]:
    """By method, the `metrics.jsonl` rows of each trial."""
    trials = config["trials"]
    return {m: [read_metrics(workdir / f"{m}-{t}" / "metrics.jsonl") for t in trials] for m in config["compared"]}
