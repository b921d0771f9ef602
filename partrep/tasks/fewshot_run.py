"""The few-shot task from end to end: make, train, evaluate."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from partrep.tasks import fewshot
from partrep.tasks.fewshot_evaluation import evaluate
from partrep.tasks.outcome import Outcome


def run(config: Mapping[str, Any], workdir: pathlib.Path) -> Outcome:
    """Trains in `workdir` and evaluates once."""
    task = fewshot.make(config)
    return evaluate(task, fewshot.train(task, workdir))
