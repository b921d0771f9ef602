"""The training loop: one readable function, `fit`, that runs stages of steps with hooks between them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from partrep import UserError
from partrep.train import sharding
from partrep.train.checkpoint import Checkpoints, NoCheckpoints
from partrep.train.logging import Log
from partrep.train.settings import from_mapping
from partrep.train.stages import Stage, check_stages, init_key
from partrep.train.state import TrainState, Tree, begin
from partrep.train.step import TrainingDiverged, enter, explain, make_step

Variables = dict[str, Tree] | Callable[[jax.Array], dict[str, Tree]]
STEPS_IN_FLIGHT = 2  # enough to keep the device busy; more would pile up batches in memory


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `fit` does around the steps; steps are counted over the whole run."""

    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 1000  # and at every end of a stage and every best validation
    keep: int = 2  # newest checkpoints kept, beside the best
    ema: float = 0.0  # decay of the averages of parameters and batch statistics; 0 keeps none
    best: str = ""  # the hook number that selects, e.g. "val/accuracy"; a leading "-" prefers small ones
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"found {name} {getattr(self, name)}; expected at least 1")
        if not 0 <= self.ema < 1:
            raise UserError(f"found ema {self.ema}; expected a decay in [0, 1)")


@dataclasses.dataclass(frozen=True)
class Every:
    """Calls `call(state)` after every `steps` steps and after the last; the numbers it returns are logged."""

    steps: int
    call: Callable[[TrainState], Mapping[str, float] | None]


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Calls between steps. A hook must not keep the state's arrays: the next step takes their memory.

    `on_checkpoint(state)` follows each start of a save; `on_end(state)` follows the last step, or finds a
    finished run. In a run of several processes every process calls every hook.
    """

    on_step: Sequence[Every] = ()
    on_checkpoint: Sequence[Callable[[TrainState], Any]] = ()
    on_end: Sequence[Callable[[TrainState], Any]] = ()


def fit(
    stages: Sequence[Stage],
    variables: Variables,
    settings: Settings | Mapping[str, Any] = Settings(),
    workdir: pathlib.Path | str | None = None,
    hooks: Hooks = Hooks(),
) -> TrainState:
    """Trains through all stages and returns the last state; the same `workdir` resumes where it stopped.

    `variables` are the model's, or a pure function of a key that makes them. Without a workdir nothing is
    written. Raises `TrainingDiverged` at the first value that is not finite; no such state is ever saved.
    """
    check_stages(stages)
    settings = from_mapping(Settings, settings)
    folder = None if workdir is None else pathlib.Path(workdir)
    last = stages[-1].until_step
    with open_checkpoints(folder, settings.keep) as checkpoints:
        state = checkpoints.restore(functools.partial(abstract_state, stages, variables, settings))
        if state is None:
            state = pass_boundary(stages, first_state(stages, variables, settings))
        step = int(state.step)
        checkpoints.discard_after(step)
        with Log(folder, step, last, settings.tensorboard) as log:
            watch = Watch(log, stages, settings.seed)
            for index in range(int(state.stage), len(stages)):
                stage = stages[index]
                advance = make_step(stages, index, state.params, settings.seed, settings.ema)
                for t in range(step, stage.until_step):
                    state, report = advance(state, sharding.put_batch(stage.batches[t]))
                    step = t + 1
                    watch.see(step, state, report, due=step % settings.log_every == 0 or step == last)
                    if step == stage.until_step:
                        watch.settle(state)
                        state = pass_boundary(stages, state)
                    state, improved = run_hooks(hooks, settings, watch, state, last)
                    if improved or step == stage.until_step or step % settings.checkpoint_every == 0:
                        watch.settle(state)
                        log.flush()
                        checkpoints.save(state)
                        for call in hooks.on_checkpoint:
                            call(state)
    for call in hooks.on_end:
        call(state)
    return state


def open_checkpoints(folder: pathlib.Path | None, keep: int) -> Checkpoints | NoCheckpoints:
    """The checkpoints of a working folder; stand-ins that write nothing where there is none."""
    return NoCheckpoints() if folder is None else Checkpoints(folder / "checkpoints", keep)


def first_state(stages: Sequence[Stage], variables: Variables, settings: Settings) -> TrainState:
    """Returns the state before the first step, made straight into the replicated sharding."""

    def make(source: Any) -> TrainState:
        made = variables(source) if callable(variables) else source
        return enter(stages, 0, begin(made, settings.ema > 0))

    if callable(variables):
        return sharding.init_replicated(make, init_key(settings.seed))
    return sharding.init_replicated(make, sharding.replicate(variables))


def abstract_state(stages: Sequence[Stage], variables: Variables, settings: Settings, index: int) -> TrainState:
    """Returns the shapes of the state in stage `index`, without computing it."""
    if index >= len(stages):
        raise UserError(f"found a checkpoint of stage {index}; expected one of {len(stages)} stages")

    def make(key: jax.Array) -> TrainState:
        state = begin(variables(key) if callable(variables) else variables, settings.ema > 0)
        for number in range(index + 1):
            state = enter(stages, number, state)
        return state

    return jax.eval_shape(make, jax.random.key(settings.seed))


def pass_boundary(stages: Sequence[Stage], state: TrainState) -> TrainState:
    """Ends every stage that ends at the state's step and enters the next; the last stage stays."""
    step, index = int(state.step), int(state.stage)
    while stages[index].until_step == step:
        at_end = stages[index].at_end
        if at_end is not None:
            state = sharding.replicate(at_end(state))
        if index + 1 == len(stages):
            break
        index += 1
        state = sharding.init_replicated(functools.partial(enter, stages, index), state)
    return state


class Watch:
    """Reads the reports of steps late, so that no step waits for the host, and stops the run at a bad one."""

    def __init__(self, log: Log, stages: Sequence[Stage], seed: int):
        self.log = log
        self._stages, self._seed = stages, seed
        self._newest: dict[str, Any] | None = None
        self._waiting: collections.deque = collections.deque()
        self._flight: collections.deque = collections.deque()

    def see(self, step: int, state: TrainState, report: dict[str, Any], due: bool) -> None:
        """Takes the report of a step just started; of the reports due for the log, the one before is read."""
        self.log.advance(step)
        self._newest = report
        self._flight.append(report["bad_step"])
        if len(self._flight) > STEPS_IN_FLIGHT:
            self._flight.popleft().block_until_ready()
        if due:
            jax.tree.map(lambda leaf: leaf.copy_to_host_async(), report)
            self._waiting.append((step, report))
            self._read(state, leave=1)

    def settle(self, state: TrainState) -> None:
        """Waits for the newest step and reads all reports; after this the state is known to be sound."""
        self._read(state, leave=0)
        if self._newest is not None:
            self._check(state, self._newest)

    def _read(self, state: TrainState, leave: int) -> None:
        while len(self._waiting) > leave:
            step, report = self._waiting.popleft()
            self._check(state, report)
            stage = next(stage.name for stage in self._stages if step <= stage.until_step)
            terms = {f"loss/{name}": value for name, value in report["terms"].items()}
            numbers = report["numbers"]
            self.log.write(step, {"stage": stage, "loss": numbers["loss"], **terms, **numbers})

    def _check(self, state: TrainState, report: dict[str, Any]) -> None:
        if int(report["bad_step"]) >= 0:
            raise TrainingDiverged(explain(self._stages, state, sorted(report["terms"]), self._seed))


def run_hooks(hooks: Hooks, settings: Settings, watch: Watch, state: TrainState, last: int) -> tuple[TrainState, bool]:
    """Calls the hooks due and logs their numbers; tells whether the best validation improved."""
    step = watch.log.step
    numbers: dict[str, float] = {}
    due = [every for every in hooks.on_step if step % every.steps == 0 or step == last]
    for every in due:
        watch.settle(state)
        numbers |= every.call(state) or {}
    if settings.best.removeprefix("-") not in {"", *numbers} and len(due) == len(hooks.on_step):
        found = ", ".join(sorted(numbers)) or "none"
        raise UserError(f"found the hook numbers {found}; expected {settings.best!r}, which is to select")
    if numbers:
        watch.log.write(step, numbers)
    return select(state, settings.best, numbers)


def select(state: TrainState, best: str, numbers: Mapping[str, float]) -> tuple[TrainState, bool]:
    """Records the number named by `best` if it is the best so far; returns whether it is."""
    name, sign = best.removeprefix("-"), -1 if best.startswith("-") else 1
    if not best or name not in numbers:
        return state, False
    value = np.float32(numbers[name])
    beaten = int(state.best_step) >= 0 and sign * value <= sign * float(state.best_metric)
    if math.isnan(value) or beaten:
        return state, False
    return state.replace(best_metric=sharding.replicate(value), best_step=state.step + 0), True
