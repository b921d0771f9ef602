"""Files written whole or not at all, and one clear line for a full disk and for a place that takes no file."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator

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


def make_folder(path: pathlib.Path) -> list[pathlib.Path]:
    """Makes a folder with its parents and returns those that were not there, the innermost first.

    Raises:
        UserError: the system makes no folder there, such as in a file, in /proc or of too long a name.
    """
    made: list[pathlib.Path] = []
    try:
        made += [folder for folder in (path, *path.absolute().parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(made)
        if is_full(error):
            raise
        raise UserError(f"cannot make the folder {path}: {error.strerror}; expected a folder to write in") from error
    return made


def remove_empty(folders: Iterable[pathlib.Path]) -> None:
    """Removes those of some folders that are there and empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def need_place(path: pathlib.Path, said: str, example: str) -> None:
    """Raises a `UserError` unless a file can be written at the path that `said` names, before the work for it is done.

    A file is made beside it and removed, with the folders that this took: who asks for permission is not told about
    names that are too long, nor about a file system that takes no files.
    """
    try:
        folder = path.is_dir()
        _refuse_device(path)
    except OSError as error:
        raise UserError(f"{said} is {path}: {error.strerror}; expected a file, such as {example}") from error
    if folder:
        raise UserError(f"{said} is the folder {path}; expected a file, such as {path / example}")
    made = make_folder(path.parent)
    try:
        _beside(path).touch()
        _beside(path).unlink()
    except OSError as error:
        if is_full(error):
            raise
        raise UserError(f"cannot write {said}={path}: {error.strerror}; expected a file, such as {example}") from error
    finally:
        remove_empty(made)


def _beside(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _refuse_device(path: pathlib.Path) -> None:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is a device or a pipe; expected a file")


@contextlib.contextmanager
def replaced(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path beside the given one to write to, which takes its place when the block ends well.

    Raises:
        UserError: the path is a device, a pipe or a socket, whose place no file may take.
    """
    _refuse_device(path)
    beside = _beside(path)
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
