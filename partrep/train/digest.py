"""Digests of the files of a saved step, kept in a sidecar that also digests itself."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from partrep.train.disk import write_atomically

BLOCK = 1 << 20


class Damage(Exception):
    """A saved step that cannot be trusted: which file, and what is wrong with it."""


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


def sidecar_of(folder: pathlib.Path, step: int) -> pathlib.Path:
    """The sidecar of a step, beside the step's own folder."""
    return folder / f"{step}.json"


def seal(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Digests the files of `record["step"]` and writes its sidecar, whole, as the last file of the step."""
    data = folder / str(record["step"])
    sealed = {**record, "files": {name: digest_file(data / name) for name in files_of(data)}}
    sealed["sha256"] = digest_record(sealed)
    write_atomically(sidecar_of(folder, record["step"]), json.dumps(sealed, sort_keys=True))


def verify(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns the sidecar of a sound step; raises `Damage` naming the file and what is wrong."""
    sidecar, data = sidecar_of(folder, step), folder / str(step)
    if not sidecar.exists():
        raise Damage(f"{sidecar.name} is missing (the save did not finish)")
    try:
        record = json.loads(sidecar.read_bytes())
        sound = record["sha256"] == digest_record(record) and record["step"] == step
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
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
