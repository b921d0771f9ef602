"""What any run would stumble over later, found before anything is written, compiled or trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from partrep import UserError
from partrep.train import sharding
from partrep.train.loop import Settings, abstract_state
from partrep.train.settings import from_mapping
from partrep.train.stages import Stage, check_stages
from partrep.train.state import TrainState, Tree

DTYPES = ("auto", "float32", "bfloat16", "float16")
LEAST = {
    "seed": 0,
    "world": 0,
    "class_seed": 0,
    "size": 1,
    "stored": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "keep": 1,
    "validate_every": 0,
    "steps": 0,
    "batch_size": 1,
    "episodes": 1,
    "validation_episodes": 2,
    "dense": 1,
    "discovery_images": 1,
    "warps": 0,
    "pictures": 0,
    "alpha": 1,
    "tail": 2,
    "openmax_images": 1,
    "levels": 1,
    "patch": 1,
}
ENTRIES = {"each": 3, "images": 3, "scale": 2}
"""How many numbers a tuple of this name has."""


def check_numbers(config: Mapping[str, Any], best: str = "validation/accuracy") -> None:
    """Raises a `UserError` at the first number of the config that no run can have, an unknown dtype or a bad `best`.

    `best` is the number that the task's validation makes, see `check_best`.
    """
    for path, value in leaves(config):
        name = path.rsplit(".", 1)[-1]
        least, entries = LEAST.get(name), ENTRIES.get(name)
        if least is not None and value < least:
            raise UserError(f"config.{path} is {value}; expected at least {least}")
        if entries is not None and isinstance(value, tuple | list) and len(value) != entries:
            raise UserError(f"config.{path} is {tuple(value)}; expected {entries} numbers")
        if name == "label_smoothing" and not 0 <= value < 1:
            raise UserError(f"config.{path} is {value}; expected at least 0 and under 1")
        if path.endswith("seed") and value >= 2**32:
            raise UserError(f"config.{path} is {value}; expected at most {2**32 - 1}")
    check_best(config["train"], best)
    if config["dtype"] not in DTYPES:
        raise UserError(f"config.dtype is {config['dtype']!r}; expected one of {', '.join(DTYPES)}")


def check_best(train: Mapping[str, Any], known: str) -> None:
    """Raises a `UserError` where the best state is to be evaluated by a number that no validation makes.

    `known` is the one number that the task's validation makes; "" where it has none.
    """
    best, every = train.get("best", ""), train.get("validate_every")
    if not known and (best or every):
        raise UserError("config.train has validate_every or best; expected neither: this task does not validate")
    if best and best != known:
        raise UserError(f"config.train.best is {best!r}; expected '' or {known!r}")
    if best and not every:
        raise UserError("config.train.best needs validations; expected --config.train.validate_every=STEPS besides")


def leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested mapping with their dotted paths.

    >>> list(leaves({"a": {"b": 1}, "c": 2}))
    [('a.b', 1), ('c', 2)]
    """
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def trace_stages(
    stages: Sequence[Stage], init: Callable[[jax.Array], dict[str, Tree]], config: Mapping[str, Any]
) -> TrainState:
    """Traces a step of each stage, raises what it would raise, and returns the shapes of the last state."""
    check_stages(stages)
    settings = {k: v for k, v in config["train"].items() if k != "validate_every"}
    names = from_mapping(Settings, {"seed": config["seed"], **settings})
    for index, stage in enumerate(stages):
        trace_step(stage, abstract_state(stages, init, names, index))
    return abstract_state(stages, init, names, len(stages) - 1)


def trace_step(stage: Stage, state: TrainState) -> None:
    """Traces the loss of a stage on its first batch, which the devices must share evenly."""
    batch = stage.batches[0]
    sharding.check_divides(len(jax.tree.leaves(batch)[0]))
    key = jax.eval_shape(lambda: jax.random.key(0))
    jax.eval_shape(stage.loss, state.params, state.model_state, state.loss_state, batch, key)
