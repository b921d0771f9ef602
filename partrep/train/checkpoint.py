"""The one file that imports orbax: asynchronous checkpoints, each sealed by a sidecar of digests.

`FOLDER/STEP/` holds the arrays as orbax writes them. `FOLDER/STEP.json`, the sidecar, is written last and
renamed into place: a step without one is unfinished. It holds the step, the stage, the name, type and shape
of every array, the SHA-256 of every file of the step, and the SHA-256 of itself. Orbax has no checksums: a
flipped byte in its files mostly loads silently, so a step is trusted only as far as its sidecar holds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from partrep import UserError
from partrep.train import sharding
from partrep.train.digest import Damage, seal, sidecar_of, verify
from partrep.train.disk import full_disk_is_user_error, need_space
from partrep.train.state import TrainState, Tree, describe, flatten

LOG = logging.getLogger("partrep")
KEPT = "older checkpoints are kept; make room and start again"
SPARE = 1 << 18  # bytes that orbax and the sidecar write beside the arrays, with as much again for safety
SPARE_EACH = 1 << 10  # and for each array


def not_from_orbax(record: logging.LogRecord) -> bool:
    """Tells orbax's log lines apart: it prints the traceback of every error that it also raises."""
    return "orbax" not in record.pathname


logging.getLogger("absl").addFilter(not_from_orbax)


class NoCheckpoints:
    """Stands in for `Checkpoints` where nothing is to be written."""

    def __enter__(self) -> NoCheckpoints:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def save(self, state: TrainState) -> None:
        """Saves nothing."""

    def restore(self, target: Callable[[int], TrainState]) -> TrainState | None:
        """Finds nothing."""
        return None

    def discard_after(self, step: int) -> None:
        """Clears nothing."""


class Checkpoints:
    """The checkpoints of one run: saves in the background, keeps the newest and the best, restores."""

    def __init__(self, folder: pathlib.Path, keep: int = 2):
        if keep < 1:
            raise UserError(f"found keep {keep}; expected at least 1 checkpoint to keep")
        self.folder = folder.absolute()
        self.keep = keep
        self._saver: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        failed = True
        try:
            if kind is None:
                self.wait()
                failed = False
            elif self._thread is not None:  # the error on its way up came first
                self._thread.join()
        finally:
            self._close(failed)

    def _close(self, failed: bool) -> None:
        """Closes orbax's saver, which tells of a full disk once more: after a failure that says nothing new."""
        saver, self._saver = self._saver, None
        if saver is None:
            return
        try:
            with full_disk_is_user_error(self.folder, KEPT):
                saver.close()
        except UserError:
            if not failed:
                raise

    def save(self, state: TrainState) -> None:
        """Starts to save a state under its step; the arrays may be reused as soon as this returns."""
        self.wait()
        leaves, step = flatten(state), int(state.step)
        arrays = {name: jax.random.key_data(leaf) if is_key(leaf) else leaf for name, leaf in leaves.items()}
        record = {
            "step": step,
            "stage": int(state.stage),
            "best_step": int(state.best_step),
            "leaves": {name: describe(leaf) for name, leaf in leaves.items()},
            "arrays": {name: describe(leaf) for name, leaf in arrays.items()},
            "keys": {name: str(jax.random.key_impl(leaf)) for name, leaf in leaves.items() if is_key(leaf)},
        }
        with self._nothing_half_written(step):
            self._remove(step)
            self._start(step, {name: leaf for name, leaf in arrays.items() if leaf.size})
        self._thread = threading.Thread(target=self._finish, args=(record,), name="seal", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits until the last save is sealed; raises what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        everywhere = sharding.everywhere(error is None)
        if error is not None:
            raise error
        if not everywhere:
            raise RuntimeError("another process could not save the checkpoint")

    def restore(self, target: Callable[[int], TrainState]) -> TrainState | None:
        """Returns the newest sound state, or None where there is none; damaged steps are said aloud.

        `target(stage)` gives the state's shapes in a stage; a sound checkpoint of others is a `UserError`.
        """
        self.wait()
        wanted: list[TrainState] = []

        def inspect(record: dict[str, Any]) -> tuple[str, ...]:
            wanted[:] = [target(record["stage"])]
            check_structure(self.folder, record, wanted[0])
            return ("",)

        found = newest_sound(self.folder, saved_steps(self.folder), inspect)
        if found is None:
            return None
        leaves = [found[1][name] for name in flatten(wanted[0])]
        return jax.tree.unflatten(jax.tree.structure(wanted[0]), leaves)

    def discard_after(self, step: int) -> None:
        """Clears the steps after `step`, which the run makes again; damaged ones are set aside by name."""
        if not sharding.is_writer():
            return
        self._remove_unfinished()
        for later in saved_steps(self.folder):
            if later > step and sidecar_of(self.folder, later).exists():
                set_aside(self.folder, later)
            elif later > step:
                self._remove(later)

    def _start(self, step: int, arrays: dict[str, jax.Array]) -> None:
        if self._saver is None:
            self._saver = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        self.folder.mkdir(parents=True, exist_ok=True)
        need_space(self.folder, sum(leaf.nbytes + SPARE_EACH for leaf in arrays.values()) + SPARE)
        self._saver.save(self.folder / str(step), args=ocp.args.StandardSave(arrays))

    def _finish(self, record: dict[str, Any]) -> None:
        """Waits for orbax, then seals the step and lets older ones go; runs in a thread."""
        try:
            with self._nothing_half_written(record["step"]):
                self._saver.wait_until_finished()
                if sharding.is_writer():
                    seal(self.folder, record)
                    self._let_go(record["best_step"])
        except BaseException as error:
            self._error = error

    def _let_go(self, best: int) -> None:
        sealed = [step for step in saved_steps(self.folder) if sidecar_of(self.folder, step).exists()]
        for step in sealed[self.keep :]:
            if step != best:
                self._remove(step)

    @contextlib.contextmanager
    def _nothing_half_written(self, step: int) -> Iterator[None]:
        """Leaves nothing of a failed save behind, and says in one line when the disk is full."""
        try:
            with full_disk_is_user_error(self.folder / str(step), KEPT):
                yield
        except BaseException:
            self._remove(step)
            self._remove_unfinished()
            raise

    def _remove(self, step: int) -> None:
        """Removes a step, its sidecar first, so that a kill half-way leaves an unfinished step."""
        if sharding.is_writer():
            sidecar_of(self.folder, step).unlink(missing_ok=True)
            shutil.rmtree(self.folder / str(step), ignore_errors=True)

    def _remove_unfinished(self) -> None:
        if sharding.is_writer() and self.folder.is_dir():
            for path in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(path, ignore_errors=True)


def load_variables(folder: pathlib.Path, step: int | None = None, ema: bool = True) -> tuple[dict[str, Tree], int]:
    """Returns (the model's variables, their step) from a folder of checkpoints, without the configuration.

    The newest sound step is read where `step` is None. `ema` takes the averages where the run kept them.
    Raises a `UserError` where there is no sound checkpoint.
    """
    folder = folder.absolute()
    steps = saved_steps(folder) if step is None else [step]

    def start(record: dict[str, Any]) -> str:
        return "ema/" if ema and any(name.startswith("ema/") for name in record["arrays"]) else ""

    found = newest_sound(folder, steps, lambda record: (f"{start(record)}params/", f"{start(record)}model_state/"))
    if found is None:
        raise UserError(f"{folder}: found no sound checkpoint; expected those of a trained run")
    record, arrays = found
    params = nest(arrays, f"{start(record)}params/")
    return {"params": params, **nest(arrays, f"{start(record)}model_state/")}, record["step"]


def best_step(folder: pathlib.Path) -> int | None:
    """The step of the best validation, as the newest sound sidecar records it, or None."""
    for step in saved_steps(folder):
        with contextlib.suppress(Damage):
            best = verify(folder, step)["best_step"]
            return best if best >= 0 else None
    return None


def saved_steps(folder: pathlib.Path) -> list[int]:
    """The steps that have a folder or a sidecar, newest first."""
    if not folder.is_dir():
        return []
    names = {path.name.removesuffix(".json") for path in folder.iterdir()}
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def set_aside(folder: pathlib.Path, step: int) -> None:
    """Renames a damaged step to damaged-STEP, over an earlier one of that name."""
    for name in (f"{step}.json", str(step)):
        aside = folder / f"damaged-{name}"
        shutil.rmtree(aside, ignore_errors=True)
        if (folder / name).exists():
            (folder / name).replace(aside)


def newest_sound(
    folder: pathlib.Path, steps: list[int], inspect: Callable[[dict[str, Any]], tuple[str, ...]]
) -> tuple[dict[str, Any], dict[str, jax.Array]] | None:
    """Returns (sidecar, arrays) of the first sound step of `steps`, or None; says what it passes over.

    `inspect(sidecar)` returns how the names of the arrays to read begin; what it raises is no damage and goes
    on up. Process 0 judges the files and every process follows; an error on reading walks on.
    """
    for step in steps:
        sound, arrays = False, None
        with damage_said_aloud(folder, step):
            sound = not sharding.is_writer() or bool(verify(folder, step))
        if not sharding.broadcast(sound):
            continue
        record = json.loads(sidecar_of(folder, step).read_bytes())
        starts = inspect(record)
        with damage_said_aloud(folder, step):
            arrays = load_arrays(folder, record, starts)
        if sharding.everywhere(arrays is not None) and arrays is not None:
            return record, arrays
    if steps:
        LOG.warning("%s: found no sound checkpoint among steps %s", folder, ", ".join(map(str, steps)))
    return None


@contextlib.contextmanager
def damage_said_aloud(folder: pathlib.Path, step: int) -> Iterator[None]:
    """Says in one line why a step is passed over."""
    try:
        yield
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        what = first if isinstance(error, Damage) else f"reading failed with {type(error).__name__}: {first}"
        LOG.warning("%s: checkpoint of step %d passed over: %s", folder, step, what)


def check_structure(folder: pathlib.Path, record: Mapping[str, Any], target: Tree) -> None:
    """Raises a `UserError` where the arrays of a checkpoint are not those of this configuration."""
    saved = record["leaves"]
    wanted = {name: describe(leaf) for name, leaf in flatten(target).items()}
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"{folder / str(record['step'])}: found {name} {saved.get(name, 'missing')}; expected "
                f"{wanted.get(name, 'none')}: the checkpoint is of another configuration"
            )


def load_arrays(
    folder: pathlib.Path, record: Mapping[str, Any], starts: tuple[str, ...] = ("",)
) -> dict[str, jax.Array]:
    """Reads the arrays of a verified step whose names begin so, replicated over the devices of this run."""
    shapes = {name: parse(text) for name, text in record["arrays"].items() if name.startswith(starts)}
    held = {name: shape for name, shape in shapes.items() if shape.size}  # orbax saves no empty array
    arguments = ocp.args.PyTreeRestore(
        held, restore_args=ocp.checkpoint_utils.construct_restore_args(held), partial_restore=True
    )
    with contextlib.closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as reader:
        loaded = reader.restore(folder / str(record["step"]), args=arguments)
    empty = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items() if not shape.size}
    keys = {
        name: jax.random.wrap_key_data(loaded[name], impl=impl)
        for name, impl in record["keys"].items()
        if name in loaded
    }
    return {**loaded, **sharding.replicate(empty), **keys}


def parse(text: str) -> jax.ShapeDtypeStruct:
    """Undoes `describe`, for arrays replicated over the devices of this run."""
    dtype, sizes = text.removesuffix("]").split("[")
    shape = tuple(int(size) for size in sizes.split(",") if size)
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=sharding.replicated())


def nest(arrays: Mapping[str, Any], start: str) -> dict[str, Any]:
    """Returns the arrays whose path begins with `start` as nested dicts of the rest of the path.

    >>> nest({"params/head/kernel": 1, "step": 2}, "params/")
    {'head': {'kernel': 1}}
    """
    tree: dict[str, Any] = {}
    for name, value in arrays.items():
        if name.startswith(start):
            *parents, leaf = name.removeprefix(start).split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value
    return tree


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds typed random keys, which are saved as their plain data."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
