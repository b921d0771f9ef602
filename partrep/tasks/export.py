"""A finished classifier as a folder that is served without this library: the program and what it takes and gives.

In: a finished run. Out: `model.stablehlo`, what `jax.export` reads, and `model.json`, which describes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax

import partrep
from partrep import UserError
from partrep.explain.contributions import level
from partrep.models.export import export_model
from partrep.tasks.classify_evaluation import LEVELS
from partrep.tasks.finished import Finished

PROGRAM, DESCRIPTION = "model.stablehlo", "model.json"
OUTPUTS = {
    "logits": "one number a class; the largest is the answer",
    "maps": "the share of each location of the grid that each part takes, as if laid over the whole view",
    "contributions": "what each part adds to each logit: bias + contributions.sum(1) = logits",
    "bias": "what no part adds, the same for every photo",
}
PROBABILITIES = {"plain": "softmax(logits)", "squared_log": "softmax(log(1 + logits**2))"}
"""How probabilities are made of the logits, by the names of `tasks.classify.LOGITS`."""


def export(finished: Finished, folder: pathlib.Path) -> dict[str, Any]:
    """Writes the folder whole or not at all, and returns what its `model.json` says.

    Raises:
        UserError: a folder that holds anything but an earlier export; a model that cannot be exported.
    """
    check_folder(folder)
    program = export_model(finished.model, finished.variables, finished.view.crop)
    content = bytes(program.serialize())
    description = describe(finished, program, content)
    with replaced(folder) as beside:
        (beside / PROGRAM).write_bytes(content)
        (beside / DESCRIPTION).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return description


def describe(finished: Finished, program: jax.export.Exported, content: bytes) -> dict[str, Any]:
    """What a program takes and gives, and what wrote it, as JSON has it; `content` are its bytes."""
    card, reached = finished.card, level(finished.model)
    shapes = jax.tree.unflatten(program.out_tree, program.out_avals)
    taken = program.in_avals[0]
    return {
        "file": PROGRAM,
        "sha256": hashlib.sha256(content).hexdigest(),
        "classes": list(card.classes),
        "parts": shapes["maps"].shape[1],
        "level": reached,
        "explanation": LEVELS[reached],
        "view": dict(card.view),
        "input": {**_array(taken), "range": [0, 255], "content": f"RGB photos: {_words(card.view)}"},
        "outputs": {name: {**_array(shape), "content": OUTPUTS[name]} for name, shape in shapes.items()},
        "probabilities": PROBABILITIES[card.logits],
        "trained_on": card.data,
        "test_accuracy": card.accuracy,
        "platforms": list(program.platforms),
        "calling_convention": program.calling_convention_version,
        "versions": {"partrep": partrep.__version__, "jax": jax.__version__},
    }


def _array(shape: Any) -> dict[str, Any]:
    """Type and shape of an array; a size that is free is its letter."""
    return {"dtype": str(shape.dtype), "shape": [n if isinstance(n, int) else str(n) for n in shape.shape]}


def _words(view: Any) -> str:
    short = f"upright, the short side resized to {view['resize']} pixels ({view['interpolation']}, antialiased)"
    return f"{short}, then the central {view['crop']} x {view['crop']} cut out"


def check_folder(folder: pathlib.Path) -> None:
    """Raises a `UserError` unless there is nothing at the path, an empty folder, or an earlier export."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; expected a folder to write")
    others = sorted({path.name for path in folder.iterdir()} - {PROGRAM, DESCRIPTION}) if folder.exists() else []
    if others:
        raise UserError(f"{folder} holds {others[0]}; expected no folder, an empty one or an earlier export")


@contextlib.contextmanager
def replaced(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder beside a folder, which takes its place at the end; after an error nothing has changed."""
    folder = folder.resolve()
    beside, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        beside.mkdir()
        yield beside
        if folder.exists():
            folder.replace(old)
        beside.replace(folder)
    finally:
        if old.exists() and not folder.exists():
            old.replace(folder)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
