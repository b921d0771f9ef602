"""Stages of a run: which batches, which loss, which parameters move, and what happens at the end."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import flax.struct
import jax

from partrep import UserError
from partrep.train.optimizer import Optimizer
from partrep.train.state import TrainState, Tree

Terms = dict[str, tuple[Any, Any]]


@flax.struct.dataclass
class Aux:
    """What a loss returns beside its terms: new model and loss state, and scalars to log."""

    model_state: Tree
    loss_state: Tree
    metrics: dict[str, jax.Array]


class Loss(Protocol):
    """`loss(params, model_state, loss_state, batch, key) -> ({term: (value, weight)}, Aux)`."""

    def __call__(
        self, params: Tree, model_state: Tree, loss_state: Tree, batch: Tree, key: jax.Array
    ) -> tuple[Terms, Aux]: ...


class Batches(Protocol):
    """`batches[t]`: this process's slice of batch t as a pytree of NumPy arrays, a pure function of t."""

    def __getitem__(self, t: int, /) -> Tree: ...


@dataclasses.dataclass(frozen=True)
class Stage:
    """Steps up to `until_step` (of the whole run) that share a loss, batches and an optimiser.

    `trainable` is a regular expression that must match the whole of a '/'-joined parameter path for it to
    move. `project(params)` is traced, and brings the parameters back into their set after every step.
    `init_loss_state(state)` is traced; None keeps the loss state of the stage before. `at_end(state)`
    runs on the host after the last step and keeps the state's structure and shapes; it must be deterministic,
    because a run killed during it repeats it.
    """

    name: str
    until_step: int
    loss: Loss
    batches: Batches
    optimizer: Optimizer | Mapping[str, Any] = dataclasses.field(default_factory=Optimizer)
    trainable: str = ".*"
    at_end: Callable[[TrainState], TrainState] | None = None
    init_loss_state: Callable[[TrainState], Tree] | None = None
    project: Callable[[Tree], Tree] | None = None


def check_stages(stages: Sequence[Stage]) -> None:
    """Raises a `UserError` unless there are stages, named apart, that end one after the other."""
    if not stages:
        raise UserError("found no training stage; expected at least one")
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise UserError(f"found stages named {', '.join(names)}; expected different names")
    ends = [stage.until_step for stage in stages]
    if ends != sorted(ends) or ends[0] < 0:
        raise UserError(f"found stages that end at steps {ends}; expected steps that do not fall")


def start_step(stages: Sequence[Stage], index: int) -> int:
    """The number of finished steps at which a stage begins."""
    return stages[index - 1].until_step if index else 0


def step_key(seed: int, step: jax.Array | int) -> jax.Array:
    """The random key of one step, a function of (seed, step) alone."""
    return jax.random.fold_in(jax.random.key(seed), step)


def init_key(seed: int) -> jax.Array:
    """The random key of a run's first variables."""
    return stream(jax.random.key(seed), "init")


def stream(key: jax.Array, name: str) -> jax.Array:
    """A key of its own for each named use, e.g. `stream(key, "dropout")`; the same in every process and run.

    >>> key = jax.random.key(0)
    >>> bool((stream(key, "dropout") == stream(key, "gumbel")).all())
    False
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
