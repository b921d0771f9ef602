"""Annotation files of data sets that have a layout of their own: found in an archive, read as rows and numbers."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np

from partrep import UserError
from partrep.data.archives import Archive
from partrep.data.decode import photo_size
from partrep.data.photos import Files


def find_layout(path: str | os.PathLike, marker: str, title: str) -> tuple[Archive, str]:
    """The archive at `path`, and the folders before `marker` in it, such as "CUB_200_2011/".

    Args:
        path: folder, zip or tar.
        marker: name of a file that the layout has, such as "annotations/list.txt".
        title: what the data set is called, for the error.

    Raises:
        UserError: nothing there, or no such file.
    """
    archive = Archive(path)
    found = [name for name in archive.names if f"/{name}".endswith(f"/{marker}")]
    if not found:
        raise UserError(f"{path} holds no {marker}; expected the files of {title}")
    return archive, min(found, key=len).removesuffix(marker)


def read_text(archive: Files, name: str) -> str:
    """A text file of an archive; one that is not UTF-8 raises a `UserError` that names it."""
    try:
        return archive.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{archive.path}: {name} is not a text file ({error.reason}); expected UTF-8") from None


def read_rows(archive: Files, name: str, columns: int) -> list[list[str]]:
    """The lines of a text file, cut at white space into `columns` words, the last of which may hold white space.

    Blank lines and lines that begin with "#" are left out; one with fewer words raises a `UserError`.
    """
    rows = []
    for number, line in enumerate(read_text(archive, name).splitlines(), 1):
        words = line.strip().split(maxsplit=columns - 1)
        if words and not words[0].startswith("#"):
            if len(words) < columns:
                raise UserError(f"{archive.path}: {name}, line {number} is {line!r}; expected {columns} words")
            rows.append(words)
    return rows


def read_numbers(archive: Files, name: str, columns: int, dtype: type = np.float32) -> np.ndarray:
    """The first `columns` numbers of each line of a text file, [lines, columns]; further ones are left out."""
    text = read_text(archive, name)
    if not text.strip():
        raise UserError(f"{archive.path}: {name} is empty; expected {columns} numbers a line")
    try:
        return np.loadtxt(io.StringIO(text), dtype, usecols=range(columns), ndmin=2)
    except ValueError as error:
        raise UserError(f"{archive.path}: {name} is not {columns} numbers a line ({error})") from None


def photo_sizes(archive: Files, names: Sequence[str]) -> np.ndarray:
    """i32 [n,2], height and width of the upright photos, from their headers."""
    sizes = [photo_size(archive.read(name), f"{archive.path}: {name}") for name in names]
    return np.array(sizes, np.int32).reshape(len(names), 2)
