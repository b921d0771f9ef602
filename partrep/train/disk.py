"""Files written whole or not at all, and one clear line for a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator

from partrep import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that the disk or the quota is full."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def full_disk_is_user_error(path: pathlib.Path, advice: str = "make room and start again") -> Iterator[None]:
    """Turns any error of a full disk in its block into a `UserError` that names the path."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_full(error):
            raise
        raise UserError(f"{path}: no space left on the disk; {advice}") from error


def need_space(path: pathlib.Path, size: int) -> None:
    """Raises an `OSError` of a full disk unless the folder `path` has room for `size` more bytes."""
    free = shutil.disk_usage(path).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{free} bytes are free, {size} are needed", str(path))


@contextlib.contextmanager
def replaced(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path beside the given one to write to, which takes its place when the block ends well.

    Raises:
        UserError: the path is a device, a pipe or a socket, whose place no file may take.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is a device or a pipe; expected a file")
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes beside the path and renames, so that a reader never meets half a file."""
    with replaced(path) as beside, beside.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
