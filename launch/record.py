"""What a run leaves in its workdir: the config it was made with, its results, and where they came from."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import pathlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import partrep
from partrep.report.content import Result
from partrep.tasks.outcome import Outcome
from partrep.train import sharding
from partrep.train.disk import make_folder, replaced, write_atomically
from partrep.train.logging import strict
from partrep.train.step import TrainingDiverged

CONFIG, RESULTS, ROWS, EPISODES = "config.json", "results.json", "rows.json", "episodes.npz"
VERSIONS = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
ROOM = 16 * 2**20  # bytes: a small run's checkpoints, metrics and page; a larger one is told by its checkpoints


def check(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Refuses a workdir of another config, a path that can be no folder, and a disk without room; writes nothing."""
    existing = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise partrep.UserError(f"cannot make the workdir {workdir}: {existing} is a file; expected a folder")
    path = workdir / CONFIG
    if path.exists() and (found := read_json(path)) != json.loads(config.to_json()):
        raise partrep.UserError(
            f"{workdir} holds a run of another config: {difference(found, json.loads(config.to_json()))}; "
            "expected the same config, or another --workdir"
        )
    free = shutil.disk_usage(existing).free
    if free < ROOM and not (workdir / RESULTS).exists():
        raise partrep.UserError(
            f"{workdir}: the disk has {free / 2**20:.1f} MB free; expected {ROOM >> 20} MB for checkpoints and report"
        )


@contextlib.contextmanager
def claimed(workdir: pathlib.Path, config: ConfigDict) -> Iterator[None]:
    """Marks the workdir as one of this config while the run inside goes on.

    A run that a mistake or a full disk ends before its first checkpoint takes away what it made: the workdir is as
    it was, and a mended config can have it. After that, after a kill, and where the training diverged (the log shows
    how), everything stays.
    """
    if not sharding.is_writer():
        yield
        return
    made = [path for path in (workdir, *workdir.absolute().parents) if not path.exists()]
    fresh = bool(made) or not any(workdir.iterdir())
    try:
        make_folder(workdir)
        if not (workdir / CONFIG).exists():
            write_json(workdir / CONFIG, json.loads(config.to_json()))
        yield
    except (partrep.UserError, OSError) as error:
        if fresh and not isinstance(error, TrainingDiverged) and not any(workdir.rglob("checkpoints/*.json")):
            empty(workdir)
            for path in made:
                with contextlib.suppress(OSError):  # not empty: another run's
                    path.rmdir()
        raise


def empty(folder: pathlib.Path) -> None:
    """Removes everything in a folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def finished(workdir: pathlib.Path, config: ConfigDict) -> bool:
    """Whether the workdir holds the results of this very config."""
    config_path = workdir / CONFIG
    same = config_path.exists() and read_json(config_path) == json.loads(config.to_json())
    return same and all((workdir / name).exists() for name in (RESULTS, ROWS))


def difference(found: Any, wanted: Any, where: str = "config") -> str:
    """The first difference of two nested mappings, in words.

    >>> difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'config.a.b is 1 there and 2 here'
    """
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in sorted(set(found) | set(wanted)):
            if key not in found:
                return f"{where}.{key} is missing there and {wanted[key]!r} here"
            if key not in wanted:
                return f"{where}.{key} is {found[key]!r} there and missing here"
            if found[key] != wanted[key]:
                return difference(found[key], wanted[key], f"{where}.{key}")
    return f"{where} is {found!r} there and {wanted!r} here"


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file; a damaged one is a `UserError`."""
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise partrep.UserError(f"{path} is not readable JSON ({error}); expected a file of an earlier run") from error


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes whole or not at all, so that no reader meets half of it."""
    write_atomically(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def environment() -> dict[str, Any]:
    """Date, code, versions and device."""
    import jax

    return {
        "date": datetime.date.today().isoformat(),
        "code": commit(),
        "versions": {name: metadata.version(name) for name in VERSIONS} | {"partrep": partrep.__version__},
        "python": sys.version.split()[0],
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind} ({sharding.cpu_cores()} CPU cores)",
    }


def commit() -> str | None:
    """The commit of the checkout that partrep runs from, with "-dirty" behind changed files; None outside of one."""
    place = pathlib.Path(partrep.__file__).parents[1]
    if not (place / ".git").exists():
        return None
    command = ["git", "-C", str(place), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance(config: ConfigDict, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Seed, versions, device, wall time, memory, data, and how often a test set was evaluated in this workdir."""
    return {
        "seed": config.seed,
        **environment(),
        "wall_seconds": round(seconds, 1),
        "peak_memory_mb": peak_memory(),
        "data": dict(outcome.fingerprints),
        "test_evaluations": outcome.test_evaluations,
    }


def peak_memory() -> int:
    """Megabytes of memory that this process has held at most; files that are mapped count while they are read."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (1 << 20 if sys.platform == "darwin" else 1 << 10)  # in bytes there, in kilobytes elsewhere


def save_results(workdir: pathlib.Path, outcome: Outcome, provenance: Mapping[str, Any]) -> None:
    """Writes the accuracy of every episode and the table, for comparisons; then `results.json`, which ends a run."""
    with replaced(workdir / EPISODES) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **outcome.episodes)
    table = {
        "measure": outcome.measure,
        "lower_is_better": outcome.page.lower_is_better,
        "chance": outcome.page.chance,
        "further_note": outcome.further_note,
        "rows": [dataclasses.asdict(row) for row in outcome.rows],
    }
    write_json(workdir / ROWS, table)
    numbers = {name: strict(value) for name, value in outcome.results.items()}
    write_json(workdir / RESULTS, numbers | {"provenance": dict(provenance)})


def read_rows(workdir: pathlib.Path) -> dict[str, Any]:
    """The table of a finished run as `save_results` wrote it, its rows as `Result`s."""
    table = read_json(workdir / ROWS)
    rows = [{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in table["rows"]]
    return table | {"rows": tuple(Result(**row) for row in rows)}


def read_episodes(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """The accuracy of every episode of a finished run by reader, f64 [E]."""
    with np.load(workdir / EPISODES) as file:
        return {name: file[name] for name in file.files}
