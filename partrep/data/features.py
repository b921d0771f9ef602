"""Frozen features of photos, computed once and kept on disk as one memory-mapped array."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from partrep import UserError
from partrep.train.disk import full_disk_is_user_error, need_space, replaced

VERSION = 1
"""Goes up when decoding, views or backbones change what the features of a photo are."""

BATCH = 32
"""Photos that the backbone sees at once."""

Photos = Callable[[int], np.ndarray]
"""A photo's number -> u8 [H,W,3], as the backbone is shown it; called from several threads."""

Apply = Callable[[np.ndarray], Any]
"""u8 [b,H,W,3] -> features [b,h,w,D]; may return before they are computed, as JAX does."""


def cached(folder: pathlib.Path, key: Mapping[str, Any], count: int, photos: Photos, apply: Apply) -> np.ndarray:
    """The features of all photos, read from `folder`, or computed there first.

    Two runs that need the same features at once compute them once: the second waits for the first. A run that is
    killed leaves nothing that is taken for features: they are written beside their place and renamed when complete.

    Args:
        folder: of the cache; made where it is missing.
        key: what the features depend on: the photos, the weights, the view; with `VERSION` it names the file.
        count: n >= 1, the number of photos.
        photos: shows one photo.
        apply: the backbone.

    Returns:
        f16 [n,h,w,D], memory-mapped and read-only.

    Raises:
        UserError: a folder that cannot be written, no room on the disk; a photo that cannot be read (raised by
            `photos`).
    """
    with unusable_is_user_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{os.getpid()}.tmp").touch()
        (folder / f".{os.getpid()}.tmp").unlink()
    path = folder / f"{name_of(key)}.npy"
    if (found := opened(path, count)) is None:
        with locked(path.with_suffix(".lock")):
            found = opened(path, count)  # the run that held the lock may have made it
            if found is None:
                with full_disk_is_user_error(path):
                    write(path, key, count, photos, apply)
                found = opened(path, count)
    assert found is not None
    return found


@contextlib.contextmanager
def unusable_is_user_error(folder: pathlib.Path) -> Iterator[None]:
    """Turns the error of a folder that cannot be made or written into one line."""
    try:
        yield
    except OSError as error:
        wanted = "expected a folder that can be written: --config.data.cache=DIR or PARTREP_CACHE"
        raise UserError(f"features cannot be kept in {folder} ({error.strerror}); {wanted}") from None


def name_of(key: Mapping[str, Any]) -> str:
    """Sixteen hex digits that change with the key and with `VERSION`.

    >>> name_of({"photos": "a"}) == name_of({"photos": "a"}), name_of({"photos": "a"}) == name_of({"photos": "b"})
    (True, False)
    """
    text = json.dumps({**key, "version": VERSION}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def opened(path: pathlib.Path, count: int) -> np.ndarray | None:
    """The features at a path; None where there are none, or a file that is cut short or of another count."""
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 4 and len(found) == count else None


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock that the system takes back from a process that ends, however it ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"features: another run computes them; waiting ({path})", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: pathlib.Path, key: Mapping[str, Any], count: int, photos: Photos, apply: Apply) -> None:
    """Computes the features and puts them at `path` in one move; what they are of is kept beside them."""
    for left in path.parent.glob(f".{path.stem}.*.tmp"):
        left.unlink()  # of a run that was killed: whoever holds the lock is the only one that writes
    with replaced(path) as beside:
        start, array = time.monotonic(), None
        for first, features in computed(count, photos, apply):
            if array is None:
                shape = (count, *features.shape[1:])
                need_space(path.parent, 2 * int(np.prod(shape)))
                array = np.lib.format.open_memmap(beside, "w+", np.float16, shape)
                if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process by a signal
                    with beside.open("r+b") as file:
                        os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
            array[first : first + len(features)] = features
            told(first + len(features), count, start)
        assert array is not None
        array.flush()
        del array
        path.with_suffix(".json").write_text(json.dumps({**key, "version": VERSION}, indent=1, sort_keys=True) + "\n")


def computed(count: int, photos: Photos, apply: Apply) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first photo, features f16 [b,h,w,D]) of each batch; photos are read while the backbone works."""
    waiting: tuple[int, Any, int] | None = None
    with ThreadPoolExecutor() as pool:
        for first in range(0, count, BATCH):
            rows = np.minimum(np.arange(first, first + BATCH), count - 1)  # one shape, so that one program is compiled
            started = first, apply(np.stack(list(pool.map(photos, rows.tolist())))), min(BATCH, count - first)
            if waiting is not None:
                yield finished(*waiting)
            waiting = started
    if waiting is not None:
        yield finished(*waiting)


def finished(first: int, features: Any, size: int) -> tuple[int, np.ndarray]:
    """The features of a batch without its padding, as they are kept."""
    return first, np.asarray(features)[:size].astype(np.float16)


def told(done: int, count: int, start: float) -> None:
    """Says how far it is, ten times in all."""
    if done == count or done * 10 // count > (done - BATCH) * 10 // count:
        pace = done / max(time.monotonic() - start, 1e-9)
        print(f"features: {done} of {count} photos, {pace:.0f} a second", file=sys.stderr)
