"""What a task hands back to the command that ran it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from partrep import UserError
from partrep.metrics.intervals import Interval
from partrep.report.content import Result, RunPage
from partrep.train import sharding
from partrep.train.checkpoint import load_variables
from partrep.train.disk import write_atomically
from partrep.train.state import TrainState, Tree

TESTS = "test_evaluations.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Numbers, rows and pictures of one finished run.

    Attributes:
        results: flat `{name: number}` for `results.json`.
        rows: of the terminal's table.
        page: of the report; the command adds provenance, config and its own line.
        episodes: `{reader: accuracy of each novel episode [E]}`, so that runs can be compared pairwise.
        fingerprints: `{what: digest}` of the data and the episodes.
        test_evaluations: how often a test set was evaluated in this workdir, this time and before.
        measure: what the rows' values are.
        further_note: what the further settings of the rows are, where there are any.
    """

    results: Mapping[str, float]
    rows: tuple[Result, ...]
    page: RunPage
    episodes: Mapping[str, np.ndarray]
    fingerprints: Mapping[str, str]
    test_evaluations: int
    measure: str = "accuracy"
    further_note: str = ""


def slug(name: str) -> str:
    """The name of a reader or an explanation as part of a result's name.

    >>> slug("k-means parts"), slug("untrained: input x gradient")
    ('k-means_parts', 'untrained_input_x_gradient')
    """
    return name.replace(": ", "_").replace(" ", "_")


def with_interval(name: str, interval: Interval) -> dict[str, float]:
    """A mean and the ends of its interval as results of that name."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def compared(difference: tuple[float, float]) -> str:
    """What the interval of a difference, the main row's value minus another's, says of the main row.

    >>> compared((0.1, 0.2)), compared((-0.1, 0.2)), compared((-0.2, -0.1))
    ('better than', 'about as well as', 'worse than')
    """
    low, high = difference
    return "better than" if low > 0 else "worse than" if high < 0 else "about as well as"


def count_test_evaluations(workdir: pathlib.Path, readers: int) -> int:
    """Adds the evaluations of a test set that are about to begin to those in `workdir`, and returns their sum.

    They are written before the test set is opened, so that an evaluation that is killed half-way counts too.
    """
    path = workdir / TESTS
    total = readers + _counted(path)
    if sharding.is_writer():
        write_atomically(path, json.dumps({"test_evaluations": total}) + "\n")
    return total


def _counted(path: pathlib.Path) -> int:
    if not path.exists():
        return 0
    try:
        return int(json.loads(path.read_text())["test_evaluations"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); expected the count of an earlier run") from error


def best_variables(workdir: pathlib.Path, state: TrainState) -> dict[str, Tree]:
    """The variables to evaluate: of the best step where one was chosen by validation, else of the last."""
    if 0 <= int(state.best_step) < int(state.step):
        return sharding.replicate(load_variables(workdir / "checkpoints", int(state.best_step))[0])
    return state.eval_variables
