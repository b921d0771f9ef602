"""Descriptors of files on disk: appended shard by shard, memory-mapped, every file checked by its digest on opening.

A folder holds, of each shard, `00000.npy` (descriptors [n,D]) and `00000.json` (their names, and a stamp of each that
says whether it still is what was described), and `manifest.json`: what the descriptors were made by, the shards in
order and the digest of every file, and its own. A shard's files are written beside their places and renamed; the
manifest that names them is replaced last. A run that is killed leaves an index of whole shards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import pathlib
import re
from collections.abc import Collection, Iterator, KeysView, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from partrep import UserError
from partrep.train.digest import digest_file, digest_record
from partrep.train.disk import full_disk_is_user_error, is_full, make_folder, replaced, write_atomically

VERSION = 2
MANIFEST, LOCK = "manifest.json", ".lock"
DTYPES = ("float16", "float32")
BEFORE = re.compile(r"\.manifest\.json\.\d+\.tmp|\.lock")
"""What a run that is killed before it has written the manifest leaves; the manifest is written before any vectors."""
OURS = re.compile(rf"\d{{5,}}\.(npy|json)|\.\d{{5,}}\.(npy|json)\.\d+\.tmp|{BEFORE.pattern}")
"""Names of the files of an index but its manifest, and of what a killed run leaves."""


@dataclasses.dataclass(frozen=True)
class Mapped:
    """Rows of several arrays [n,D] as if they were one; a slice reads what it needs.

    >>> Mapped((np.zeros((2, 3)), np.ones((1, 3))))[1:3].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    arrays: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D); (0, 0) where there is no array."""
        return sum(map(len, self.arrays)), self.arrays[0].shape[1] if self.arrays else 0

    def __len__(self) -> int:
        """How many rows there are."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows from a start to an end, in memory."""
        start, end, _ = rows.indices(len(self))
        pieces, first = [], 0
        for array in self.arrays:
            low, high = max(start - first, 0), min(end - first, len(array))
            if low < high:
                pieces.append(array[low:high])
            first += len(array)
        return np.concatenate(pieces) if pieces else np.zeros((0, self.shape[1]), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """An index that was opened and found whole.

    Attributes:
        folder: where it is.
        made_by: what its descriptors were made by.
        shards: their names, in order.
    """

    folder: pathlib.Path
    made_by: Mapping[str, Any]
    shards: tuple[str, ...]

    @functools.cached_property
    def _listed(self) -> tuple[dict[str, list[Any]], ...]:
        """The names and stamps of each shard."""
        return tuple(json.loads((self.folder / f"{shard}.json").read_bytes()) for shard in self.shards)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each row."""
        return tuple(name for listed in self._listed for name in listed["names"])

    @functools.cached_property
    def stamps(self) -> tuple[Any, ...]:
        """The stamp of each row; None where it was given none."""
        return tuple(stamp for listed in self._listed for stamp in listed["stamps"])

    @functools.cached_property
    def descriptors(self) -> Mapped:
        """f16 or f32 [N,D], mapped from the disk."""
        return Mapped(tuple(np.load(self.folder / f"{shard}.npy", mmap_mode="r") for shard in self.shards))


def open_index(folder: pathlib.Path, made_by: Mapping[str, Any] = MappingProxyType({})) -> Index:
    """Opens an index and checks every file of it.

    Args:
        folder: of the index.
        made_by: what the descriptors have to be made by, as far as it is given.

    Raises:
        UserError: no index, a file that is missing, damaged or of another index, descriptors that are made otherwise.
    """
    manifest = _manifest(folder)
    found = manifest["made_by"]
    for key, wanted in json.loads(json.dumps(dict(made_by))).items():
        if found.get(key) != wanted:
            said = f"its {key} is {found.get(key)!r}, and here it is {wanted!r}"
            raise UserError(f"{folder} was made otherwise: {said}; expected the same, or another index")
    for shard in manifest["shards"]:
        for name, digest in shard["files"].items():
            path = folder / name
            if not path.is_file():
                raise UserError(f"{path} is missing; {_damaged(folder)}")
            if digest_file(path) != digest:
                raise UserError(f"{path} does not match its digest; {_damaged(folder)}")
    return Index(folder, manifest["made_by"], tuple(shard["name"] for shard in manifest["shards"]))


def _damaged(folder: pathlib.Path) -> str:
    return f"the index is damaged: remove {folder} and index again"


def _manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of an index, which matches its own digest."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} holds no index ({MANIFEST} is missing); expected a folder that was indexed")
    try:
        found = json.loads(path.read_bytes())
        sound = found["sha256"] == digest_record(found)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{path} is malformed ({type(error).__name__}); {_damaged(folder)}") from None
    if not sound:
        raise UserError(f"{path} does not match its own digest; {_damaged(folder)}")
    if found["version"] != VERSION:
        raise UserError(f"{path} is of version {found['version']}; expected {VERSION}: remove {folder} and index again")
    return found


class Writer:
    """Appends to an index; made by `writing`."""

    def __init__(self, folder: pathlib.Path, index: Index):
        """Of an index that is locked by this process."""
        self._folder = folder
        self.stamps = dict(zip(index.names, index.stamps))
        self._like = (index.descriptors.shape[1], index.descriptors.arrays[0].dtype) if index.shards else None

    @property
    def names(self) -> KeysView[str]:
        """The names that are in the index."""
        return self.stamps.keys()

    def add(self, names: Sequence[str], descriptors: np.ndarray, stamps: Sequence[Any] | None = None) -> None:
        """Appends one shard: n >= 1 new names, their descriptors, f16 or f32 [n,D], and stamps, as JSON has them.

        Raises:
            ValueError: names that are there already or twice, another width or type than before, not finite numbers.
            UserError: no room on the disk.
        """
        self._check(names, descriptors)
        stamps = [None] * len(names) if stamps is None else list(stamps)
        with self._changed() as manifest:
            manifest["shards"].append(self._written(manifest, list(names), stamps, descriptors))
        self.stamps.update(zip(names, stamps))
        self._like = descriptors.shape[1], descriptors.dtype

    def drop(self, names: Collection[str]) -> None:
        """Takes some names out of the index: their shards are written again without them.

        Raises:
            UserError: no room on the disk.
        """
        with self._changed() as manifest:
            shards, manifest["shards"] = manifest["shards"], []
            for shard in shards:
                listed = json.loads((self._folder / f"{shard['name']}.json").read_bytes())
                rows = [row for row, name in enumerate(listed["names"]) if name not in names]
                if len(rows) < len(listed["names"]):
                    left, stamps = ([listed[key][row] for row in rows] for key in ("names", "stamps"))
                    array = np.load(self._folder / f"{shard['name']}.npy", mmap_mode="r")[rows]
                    shard = self._written(manifest, left, stamps, array) if rows else None
                manifest["shards"] += [shard] if shard else []
        for name in names:
            self.stamps.pop(name, None)

    @contextlib.contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """The manifest, which is written again at the end; files that it then lacks are removed by the next writer."""
        manifest = _manifest(self._folder)
        with full_disk_is_user_error(self._folder, "make room and start again: what is indexed stays"):
            yield manifest
            _write_manifest(self._folder, manifest)

    def _written(
        self, manifest: dict[str, Any], names: list[str], stamps: list[Any], descriptors: np.ndarray
    ) -> dict[str, Any]:
        """Writes a shard under a name that none had before; returns its entry in the manifest."""
        shard = f"{manifest['written']:05d}"
        manifest["written"] += 1
        array, listed = self._folder / f"{shard}.npy", self._folder / f"{shard}.json"
        with replaced(array) as beside, beside.open("wb") as file:
            np.save(file, np.ascontiguousarray(descriptors))
            file.flush()
            os.fsync(file.fileno())
        write_atomically(listed, json.dumps({"names": names, "stamps": stamps}))
        return {"name": shard, "files": {path.name: digest_file(path) for path in (array, listed)}}

    def _check(self, names: Sequence[str], descriptors: np.ndarray) -> None:
        if len(set(names)) < len(names) or self.names & set(names):
            raise ValueError("a name is there already; expected new names, each once")
        if descriptors.ndim != 2 or len(descriptors) != len(names) or not names or str(descriptors.dtype) not in DTYPES:
            found = f"{len(names)} names and descriptors {descriptors.dtype} {descriptors.shape}"
            raise ValueError(f"{found}; expected f16 or f32 [n,D] for n >= 1 names")
        if self._like not in (None, (descriptors.shape[1], descriptors.dtype)):
            raise ValueError(f"descriptors {descriptors.dtype} [n,{descriptors.shape[1]}]; the index has {self._like}")
        if not np.isfinite(descriptors).all():
            raise ValueError("a descriptor that is not finite")


def _write_manifest(folder: pathlib.Path, manifest: Mapping[str, Any]) -> None:
    sealed = {**manifest, "sha256": digest_record(manifest)}
    write_atomically(folder / MANIFEST, json.dumps(sealed, indent=1, sort_keys=True))


@contextlib.contextmanager
def writing(folder: pathlib.Path, made_by: Mapping[str, Any]) -> Iterator[Writer]:
    """Opens an index to append to, or starts one; nobody else writes to it meanwhile.

    What a run that was killed left unfinished is removed. Arguments and errors are those of `open_index`.

    Raises:
        UserError: also where another run writes to it, or where the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; expected a folder for the index")
    new = not (folder / MANIFEST).exists()
    if new and folder.exists() and (others := [p.name for p in folder.iterdir() if not BEFORE.fullmatch(p.name)]):
        raise UserError(f"{folder} holds {min(others)} and no index; expected a new folder, or one that was indexed")
    make_folder(folder)
    with _locked(folder):
        if not (folder / MANIFEST).exists():
            _write_manifest(folder, {"version": VERSION, "made_by": dict(made_by), "shards": [], "written": 0})
        index = open_index(folder, made_by)
        known = {f"{shard}.{kind}" for shard in index.shards for kind in ("npy", "json")} | {LOCK}
        for path in folder.iterdir():
            if OURS.fullmatch(path.name) and path.name not in known:
                path.unlink()
        yield Writer(folder, index)


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds a lock that the system takes back from a process that ends, however it ends."""
    try:
        opened = (folder / LOCK).open("a")
    except OSError as error:
        if is_full(error):
            raise
        raise UserError(f"{folder} takes no file: {error.strerror}; expected a folder for the index") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder} is being written by another run; expected it to be done") from None
        yield
