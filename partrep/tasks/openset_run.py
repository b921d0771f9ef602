"""The open-set task from end to end: make, check, then train and evaluate every method in every trial."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from partrep import UserError
from partrep.data.imageset import ImageSet
from partrep.report.content import Fooled
from partrep.tasks import openset
from partrep.tasks.batches import spaced
from partrep.tasks.check import check_numbers, trace_stages
from partrep.tasks.openset_evaluation import Scored, named_rows, outcome, read, score
from partrep.tasks.openset_pictures import pictures
from partrep.tasks.outcome import Outcome, count_test_evaluations
from partrep.train import sharding
from partrep.train.logging import read_metrics


def prepare(config: Mapping[str, Any]) -> Callable[[pathlib.Path], Outcome]:
    """Reads the data, builds every method's model and raises what is wrong with them; writes nothing.

    Returns the function that trains in a workdir and evaluates.
    """
    for name in ("trials", "compared"):
        if not config[name] or len(set(config[name])) < len(config[name]):
            raise UserError(f"config.{name} is {tuple(config[name])}; expected different ones, one at least")
    for method in config["compared"]:
        check_numbers(openset.of_method(config, method), best="")
    for trial in config["trials"][1:]:
        openset.openset_data.load({**config["data"], "warp": {}}, trial)
    for method in config["compared"]:
        task = openset.make(config, method, config["trials"][0])
        trace_stages(openset.stages(task), task.init, task.config)
    check_fitted(task.data.train, config["evaluation"]["openmax_images"])
    return functools.partial(run, config)


def check_fitted(images: ImageSet, most: int) -> None:
    """Raises a `UserError` where OpenMax would be fitted to fewer than two images of a class."""
    found = np.bincount(images.labels[spaced(images, most)], minlength=images.classes).min()
    if found < 2:
        raise UserError(f"config.evaluation.openmax_images is {most}: {found} of a class; expected at least 2 of each")


def run(config: Mapping[str, Any], workdir: pathlib.Path) -> Outcome:
    """Trains each method of each trial in a folder of its own in `workdir`, and evaluates its last state."""
    first = openset.make(config, config["compared"][0], config["trials"][0])
    tests = len(config["trials"]) * len(config["compared"]) * (1 + len(first.data.unknown))
    evaluations = count_test_evaluations(workdir, tests)
    scored: dict[str, list[Scored]] = {method: [] for method in config["compared"]}
    _, compared, by = named_rows(config)[-1]
    fooled: tuple[Fooled, ...] = ()
    for trial in config["trials"]:
        for method in config["compared"]:
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
