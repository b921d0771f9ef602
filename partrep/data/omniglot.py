"""Omniglot from the official zips: characters of alphabets, who drew them, and the pen strokes where given.

The files are those of https://github.com/brendenlake/omniglot (`python/`); ink is 0 and paper 255, as there.
"""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from partrep import UserError, lookup
from partrep.data.archives import Archive
from partrep.data.resample import resize_u8
from partrep.data.source import ArraySource, split_groups

SIDE = 105
FILES = {
    "small1": "images_background_small1.zip",
    "small2": "images_background_small2.zip",
    "full": "images_background.zip",
    "evaluation": "images_evaluation.zip",
}


class Omniglot(ArraySource):
    """All drawings of some official files, decoded at once: images u8[n,size,size,1], ink 0, paper 255.

    The label is the character (`classes`: "Greek/character01"), the group its alphabet (`group_names`), the
    attribute `drawer` counts from 1. A drawing found in two files (Greek and Latin are in both small sets) is
    taken once.

    Args:
        path: folder that holds the official zips, or the folders unpacked from them.
        files: a name of `FILES`, or several.
        size: side of the images in pixels; below 105 they are shrunk with a triangle filter.
    """

    def __init__(self, path: str | os.PathLike, files: str | Sequence[str] = "small1", size: int = SIDE):
        found: dict[str, tuple[Archive, str]] = {}
        for name in [files] if isinstance(files, str) else files:
            archive = open_official(path, lookup(FILES, name, "Omniglot file"))
            for member in (m for m in archive.names if m.endswith(".png")):
                found.setdefault("/".join(member[:-4].split("/")[-3:]), (archive, member))
        if not found:
            raise UserError(f"no drawing in Omniglot {files} of {path}; expected alphabet/character/*.png")
        ids = sorted(found)
        alphabets, characters, drawers = zip(*map(parse_id, ids))
        classes, labels = np.unique(characters, return_inverse=True)
        group_names, groups = np.unique(alphabets, return_inverse=True)
        self._members = [found[i] for i in ids]
        self._stroke_archives: dict[str, Archive] = {}  # shared with what `take` returns
        images = decode_drawings(self._members, size)
        names = [str(name) for name in group_names]
        drawer = {"drawer": np.array(drawers)}
        super().__init__(images, labels, [str(c) for c in classes], ids, groups, names, drawer)

    def take(self, indices: np.ndarray) -> Omniglot:
        """The drawings at `indices`; labels are counted anew, groups keep their number."""
        part = super().take(indices)
        assert isinstance(part, Omniglot)
        part._members = [self._members[i] for i in indices]
        return part

    def split(self, held_out: Sequence[str]) -> tuple[Omniglot, Omniglot]:
        """(all other alphabets, the `held_out` alphabets), disjoint by construction."""
        kept, held = split_groups(self.groups, self.group_names, held_out)
        return self.take(kept), self.take(held)

    @property
    def has_strokes(self) -> bool:
        """True where the stroke file of every image file lies beside it."""
        archives = {archive.path: archive for archive, _ in self._members}.values()
        beside = [archive.path.parent / stroke_file(archive) for archive in archives]
        return all(path.exists() or path.with_suffix("").exists() for path in beside)

    def strokes(self, index: int) -> list[np.ndarray]:
        """Pen strokes of one drawing in order of time: f32[T,2] each, (y, x) in pixels, centres whole."""
        archive, member = self._members[index]
        name = stroke_file(archive)
        if name not in self._stroke_archives:
            self._stroke_archives[name] = open_official(archive.path.parent, name)
        member = member.replace("images_", "strokes_", 1)[:-4] + ".txt"
        return parse_strokes(self._stroke_archives[name].read(member).decode(errors="replace"), f"{name}: {member}")

    def stroke_mask(self, index: int) -> np.ndarray:
        """Mask u8[105,105]: 0 on paper, s where the ink lies nearest to pen stroke s = 1, 2, ..."""
        ink = np.argwhere(decode_drawings([self._members[index]], SIDE)[0, :, :, 0] == 0)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        distance = [distance_to_polyline(ink, stroke) for stroke in self.strokes(index)]
        mask[ink[:, 0], ink[:, 1]] = np.argmin(distance, 0) + 1
        return mask


def open_official(path: str | os.PathLike, name: str) -> Archive:
    """The official zip `name` in the folder `path`, or the folder unpacked from it."""
    path = pathlib.Path(path)
    for candidate in (path / name, path / name.removesuffix(".zip")):
        if candidate.exists():
            return Archive(candidate)
    raise UserError(f"no {name} in {path}; expected the file of github.com/brendenlake/omniglot/python")


def stroke_file(archive: Archive) -> str:
    """Name of the official zip that holds the pen strokes of an image file."""
    return archive.path.name.removesuffix(".zip").replace("images_", "strokes_", 1) + ".zip"


def parse_id(identity: str) -> tuple[str, str, int]:
    """Alphabet, class name and drawer.

    >>> parse_id("Greek/character01/0394_20")
    ('Greek', 'Greek/character01', 20)
    """
    alphabet, _, rest = identity.partition("/")
    character, _, stem = rest.partition("/")
    drawer = stem.rpartition("_")[2]
    if not drawer.isdigit():
        raise UserError(f"Omniglot drawing {identity!r}; expected alphabet/characterNN/NNNN_DRAWER.png")
    return alphabet, f"{alphabet}/{character}", int(drawer)


def decode_drawings(members: Sequence[tuple[Archive, str]], size: int, block: int = 512) -> np.ndarray:
    """Images u8[n,size,size,1] of archive members, each 105x105 and of one bit a pixel."""
    out = np.empty((len(members), size, size, 1), np.uint8)
    for start in range(0, len(members), block):
        drawings = [decode_drawing(*member) for member in members[start : start + block]]
        out[start : start + block] = resize_u8(np.stack(drawings)[..., None], size, size)
    return out


def decode_drawing(archive: Archive, member: str) -> np.ndarray:
    """One official drawing, u8[105,105]: ink 0, paper 255."""
    try:
        image = Image.open(io.BytesIO(archive.read(member)))
        pixels = np.asarray(image if image.mode == "1" else image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{archive.path}: {member} is not a readable image ({error})") from None
    if pixels.shape != (SIDE, SIDE):
        raise UserError(f"{archive.path}: {member} has {pixels.shape} pixels; expected 105x105")
    return pixels * np.uint8(255) if pixels.dtype == bool else pixels


def parse_strokes(text: str, name: str) -> list[np.ndarray]:
    """Strokes of one stroke file (START, `x,y,time` lines, BREAK at each lift) as (y, x) in pixels."""
    strokes: list[np.ndarray] = []
    points: list[tuple[float, float]] = []
    try:
        for line in text.split():
            if line == "BREAK":
                strokes.append(np.array(points, np.float32))
                points = []
            elif line != "START":
                x, y, _ = map(float, line.split(","))
                points.append((-y, x))
    except ValueError:
        raise UserError(f"{name}: {line!r} is not a stroke line; expected x,y,time") from None
    strokes = [stroke for stroke in strokes if len(stroke)]
    if not strokes:
        raise UserError(f"{name} holds no pen stroke; expected START, x,y,time lines and BREAK")
    return strokes


def distance_to_polyline(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance [n] of each point [n,2] to the nearest place on the polyline [T,2].

    >>> distance_to_polyline(np.array([[1.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 4.0]]))
    array([1.])
    """
    start, step = line[:-1], np.diff(line, axis=0)
    if not len(step):
        return np.linalg.norm(points - line[0], axis=1)
    along = ((points[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12)
    nearest = start + np.clip(along, 0, 1)[..., None] * step
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(1)
