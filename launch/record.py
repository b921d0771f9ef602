"""What a run leaves in its workdir: the config it was made with, its results, and where they came from."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import shlex
import sys
from importlib import metadata
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import partrep
from partrep.tasks.outcome import Outcome

VERSIONS = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def claim(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Writes `config.json`; a workdir of another config is refused with the first difference."""
    path = workdir / "config.json"
    wanted = json.loads(config.to_json())
    if path.exists():
        found = json.loads(path.read_text())
        if found != wanted:
            raise partrep.UserError(f"{workdir} holds a run of another config: {difference(found, wanted)}; "
                                    "expected the same config, or another --workdir")  # fmt: skip
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise partrep.UserError(f"cannot make the workdir {workdir}: {error.strerror}; expected a folder") from error
    write_json(path, wanted)


def difference(found: Any, wanted: Any, where: str = "config") -> str:
    """The first difference of two nested mappings, in words.

    >>> difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'config.a.b is 1 there and 2 here'
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(set(found) | set(wanted)):
            if found.get(key) != wanted.get(key):
                return difference(found.get(key), wanted.get(key), f"{where}.{key}")
    return f"{where} is {found} there and {wanted} here"


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes through a file beside it, so that no reader meets half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def provenance(config: ConfigDict, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Seed, versions, device, wall time, data and how often a test set was evaluated."""
    import jax

    device = jax.devices()[0]
    return {
        "seed": config.seed,
        "date": datetime.date.today().isoformat(),
        "versions": {name: metadata.version(name) for name in VERSIONS} | {"partrep": partrep.__version__},
        "python": sys.version.split()[0],
        "device": f"{jax.device_count()} x {device.device_kind} ({os.cpu_count()} CPU cores)",
        "wall_seconds": round(seconds, 1),
        "data": dict(outcome.fingerprints),
        "test_evaluations": outcome.test_evaluations,
    }


def save_results(workdir: pathlib.Path, outcome: Outcome, provenance: dict[str, Any]) -> None:
    """Writes `results.json` and, for pairing, the accuracy of every episode."""
    if outcome.episodes:
        with open(workdir / "episodes.npz", "wb") as file:
            np.savez_compressed(file, **{k.replace(" ", "_"): v for k, v in outcome.episodes.items()})
    write_json(workdir / "results.json", dict(outcome.results) | {"provenance": provenance})


def command() -> str:
    """The command line that runs this again."""
    return shlex.join(["python", "-m", "launch.main", *sys.argv[1:]])
