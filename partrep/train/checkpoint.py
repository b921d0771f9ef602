"""The one file that imports orbax: asynchronous checkpoints, each sealed by a sidecar of digests.

`FOLDER/STEP/` holds the arrays as orbax writes them. `FOLDER/STEP.json`, the sidecar, is written last and
renamed into place: a step without one is unfinished. It holds the step, the stage, the name, type and shape of
every array, the SHA-256 of every file of the step, and the SHA-256 of itself. Orbax has no checksums: a flipped
byte in its files mostly loads silently, so a step is trusted only as far as its sidecar holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import pathlib
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from partrep import UserError
from partrep.train import sharding
from partrep.train.disk import full_disk_is_user_error, write_atomically
from partrep.train.state import TrainState, Tree

LOG = logging.getLogger("partrep")
BLOCK = 1 << 20


class Damage(Exception):
    """A checkpoint that cannot be trusted: which file, and what is wrong with it."""


def describe(leaf: Any) -> str:
    """The type and shape of an array.

    >>> describe(np.zeros((3, 4), np.float32))
    'float32[3,4]'
    """
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def flatten(tree: Tree) -> dict[str, Any]:
    """Returns the leaves by '/'-joined path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds typed random keys, which orbax saves as their plain data."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def digest_file(path: pathlib.Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_record(record: Mapping[str, Any]) -> str:
    """The SHA-256 of a sidecar without its own digest."""
    body = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def files_of(folder: pathlib.Path) -> list[str]:
    """All files under a folder, as sorted relative paths."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def saved_steps(folder: pathlib.Path) -> list[int]:
    """The steps that have a folder or a sidecar, newest first."""
    if not folder.is_dir():
        return []
    names = {path.name.removesuffix(".json") for path in folder.iterdir()}
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def verify(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns the sidecar of a sound step; raises `Damage` naming the file and what is wrong."""
    sidecar, data = folder / f"{step}.json", folder / str(step)
    if not sidecar.exists():
        raise Damage(f"{sidecar.name} is missing (the save did not finish)")
    try:
        record = json.loads(sidecar.read_bytes())
        sound = record["sha256"] == digest_record(record) and record["step"] == step
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise Damage(f"{sidecar.name} is malformed ({type(error).__name__})") from error
    if not sound:
        raise Damage(f"{sidecar.name} does not match its own digest")
    found = files_of(data)
    for name in sorted(set(record["files"]) | set(found)):
        if name not in found:
            raise Damage(f"{step}/{name} is missing")
        if name not in record["files"]:
            raise Damage(f"{step}/{name} does not belong to it")
        if digest_file(data / name) != record["files"][name]:
            raise Damage(f"{step}/{name} does not match its digest")
    return record


def check_structure(record: Mapping[str, Any], target: Tree, folder: pathlib.Path) -> None:
    """Raises a `UserError` where the arrays of a checkpoint are not those of this configuration."""
    saved = record["leaves"]
    wanted = {name: describe(leaf) for name, leaf in flatten(target).items()}
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"{folder / str(record['step'])}: found {name} {saved.get(name, 'missing')}; expected "
                f"{wanted.get(name, 'none')}: the checkpoint is of another configuration"
            )


def load_arrays(folder: pathlib.Path, record: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Reads the arrays of a verified step by name, replicated over the devices of this run."""
    shapes = {}
    for name, text in record["arrays"].items():
        dtype, shape = text.removesuffix("]").split("[")
        shapes[name] = jax.ShapeDtypeStruct(
            tuple(map(int, shape.split(","))) if shape else (),
            jnp.dtype(dtype),
            sharding=sharding.replicated(),
        )
    held = {name: shape for name, shape in shapes.items() if shape.size}
    with contextlib.closing(ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())) as reader:
        loaded = reader.restore(folder / str(record["step"]), args=ocp.args.StandardRestore(held))
    empty = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items() if not shape.size}
    return {**loaded, **sharding.replicate(empty)}


def newest_sound(folder: pathlib.Path, steps: list[int], read: Callable[[dict[str, Any]], Any]) -> Any:
    """Returns `read(sidecar)` of the first sound step of `steps`, or None; says aloud what it passes over.

    Process 0 judges the files and every process follows; any error on reading walks on to the next step.
    """
    for step in steps:
        record = None
        if sharding.is_writer():
            with warn_of_damage(folder, step):
                record = verify(folder, step)
        if not sharding.broadcast(record is not None):
            continue
        value = None
        with warn_of_damage(folder, step):
            value = read(record or json.loads((folder / f"{step}.json").read_bytes()))
        if sharding.everywhere(value is not None):
            return value
    if steps:
        LOG.warning("%s: found no sound checkpoint among steps %s", folder, ", ".join(map(str, steps)))
    return None


@contextlib.contextmanager
def warn_of_damage(folder: pathlib.Path, step: int):
    """Says in one line why a step is passed over; a `UserError` is no damage and goes on up."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        what = str(error) if isinstance(error, Damage) else f"reading it failed: {first_line(error)}"
        LOG.warning("%s: checkpoint of step %d is damaged: %s; trying the one before", folder, step, what)


def first_line(error: Exception) -> str:
    """The type and the first line of an error's message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


class Checkpoints:
    """The checkpoints of one run: saves in the background, keeps the newest and the best, restores."""

    def __init__(self, folder: pathlib.Path | None, keep: int = 2):
        if keep < 1:
            raise UserError(f"found keep {keep}; expected at least 1 checkpoint to keep")
        self.folder = folder
        self.keep = keep
        self._saver: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            self.wait()
        except Exception:
            if kind is None:
                raise
        finally:
            if self._saver is not None:
                self._saver.close()
                self._saver = None

    def save(self, state: TrainState) -> None:
        """Starts to save a state under its step; the arrays may be reused as soon as this returns."""
        if self.folder is None:
            return
        self.wait()
        step, leaves = int(state.step), flatten(state)
        arrays = {name: jax.random.key_data(leaf) if is_key(leaf) else leaf for name, leaf in leaves.items()}
        record = {
            "step": step,
            "stage": int(state.stage),
            "best_step": int(state.best_step),
            "leaves": {name: describe(leaf) for name, leaf in leaves.items()},
            "arrays": {name: describe(leaf) for name, leaf in arrays.items()},
        }
        with self._full_disk(step):
            self._remove(step)
            self._start({name: leaf for name, leaf in arrays.items() if leaf.size}, step)
        self._thread = threading.Thread(target=self._seal, args=(record,), name="seal", daemon=True)
        self._thread.start()

    def _start(self, arrays: dict[str, jax.Array], step: int) -> None:
        if self._saver is None:
            self._saver = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        if sharding.is_writer():
            self.folder.mkdir(parents=True, exist_ok=True)
        self._saver.save(self.folder / str(step), args=ocp.args.StandardSave(arrays))

    def _seal(self, record: dict[str, Any]) -> None:
        """Waits for orbax, then digests, writes the sidecar and lets older steps go; runs in a thread."""
        step = record["step"]
        try:
            with self._full_disk(step):
                self._saver.wait_until_finished()
                if sharding.is_writer():
                    data = self.folder / str(step)
                    record["files"] = {name: digest_file(data / name) for name in files_of(data)}
                    record["sha256"] = digest_record(record)
                    write_atomically(self.folder / f"{step}.json", json.dumps(record, sort_keys=True))
                    self._forget(record["best_step"])
        except BaseException as error:
            self._error = error

    def _forget(self, best: int) -> None:
        sealed = [step for step in saved_steps(self.folder) if (self.folder / f"{step}.json").exists()]
        for step in sealed[self.keep :]:
            if step != best:
                self._remove(step)

    def _remove(self, step: int) -> None:
        """Removes a step, its sidecar first, so that a kill half-way leaves an unfinished step."""
        if sharding.is_writer():
            (self.folder / f"{step}.json").unlink(missing_ok=True)
            shutil.rmtree(self.folder / str(step), ignore_errors=True)

    @contextlib.contextmanager
    def _full_disk(self, step: int):
        """Leaves nothing half-written behind a failed save; says in one line when the disk is full."""
        kept = "older checkpoints are kept; make room and start again"
        try:
            with full_disk_is_user_error(self.folder / str(step), kept):
                yield
        except BaseException:
            self._remove(step)
            self._remove_unfinished()
            raise

    def _remove_unfinished(self) -> None:
        if sharding.is_writer() and self.folder.is_dir():
            for path in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(path, ignore_errors=True)

    def wait(self) -> None:
        """Waits until the last save is sealed; raises what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def restore(self, target: Callable[[int], TrainState], step: int | None = None) -> TrainState | None:
        """Returns the newest sound state (or that of `step`), or None; damaged ones are said aloud.

        `target(stage)` gives the state's shapes in a stage. A sound checkpoint of other shapes is a `UserError`.
        """
        if self.folder is None:
            return None
        self.wait()

        def read(record: dict[str, Any]) -> TrainState:
            wanted = target(record["stage"])
            check_structure(record, wanted, self.folder)
            arrays = load_arrays(self.folder, record)
            leaves, structure = jax.tree.flatten(wanted)
            values = [
                jax.random.wrap_key_data(arrays[name], impl=jax.random.key_impl(leaf)) if is_key(leaf) else arrays[name]
                for name, leaf in zip(flatten(wanted), leaves)
            ]
            return jax.tree.unflatten(structure, values)

        return newest_sound(self.folder, saved_steps(self.folder) if step is None else [step], read)

    def discard_after(self, step: int) -> None:
        """Clears the steps after `step`, which the run makes again: damaged ones are set aside by name."""
        if self.folder is None or not sharding.is_writer():
            return
        self._remove_unfinished()
        for later in saved_steps(self.folder):
            if later > step:
                if (self.folder / f"{later}.json").exists():
                    self._set_aside(later)
                self._remove(later)

    def _set_aside(self, step: int) -> None:
        shutil.rmtree(self.folder / f"damaged-{step}", ignore_errors=True)
        (self.folder / str(step)).mkdir(exist_ok=True)
        (self.folder / str(step)).rename(self.folder / f"damaged-{step}")
        (self.folder / f"{step}.json").rename(self.folder / f"damaged-{step}.json")


def load_variables(folder: pathlib.Path, step: int | None = None, ema: bool = True) -> tuple[dict[str, Tree], int]:
    """Returns (the model's variables, their step) from a run's checkpoints, without its configuration.

    `ema` takes the averages where the run kept them. Raises a `UserError` where there is no sound checkpoint.
    """
    found = newest_sound(
        folder,
        saved_steps(folder) if step is None else [step],
        lambda record: (load_arrays(folder, record), record["step"]),
    )
    if found is None:
        raise UserError(f"{folder}: found no sound checkpoint; expected those of a trained run")
    arrays, at = found
    start = "ema/" if ema and any(name.startswith("ema/") for name in arrays) else ""
    variables = {"params": nest(arrays, f"{start}params/"), **nest(arrays, f"{start}model_state/")}
    return variables, at


def best_step(folder: pathlib.Path) -> int | None:
    """The step of the best validation that the newest readable sidecar records, or None."""
    for step in saved_steps(folder):
        with contextlib.suppress(ValueError, KeyError, OSError):
            best = json.loads((folder / f"{step}.json").read_bytes())["best_step"]
            return best if best >= 0 else None
    return None


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
