"""Ground truth of the revisited Oxford and Paris buildings: `gnd_roxford5k.pkl` and `gnd_rparis6k.pkl`."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from partrep import UserError
from partrep.data.unpickler import Allowed, read_pickle

RELEVANCE = ("easy", "hard", "junk")
NUMBERS = re.compile("[iuf][1248]")


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """Queries, the gallery that they are looked up in, and what each query should find.

    Attributes:
        gallery: names of N photos, without folder and `.jpg`.
        queries: names of Q photos, none of them in the gallery.
        boxes: f64 [Q,4], (x0, y0, x1, y1) in pixels of the query photo: the building that is asked for.
        relevant: for each query `{"easy": int64 [.], "hard": int64 [.], "junk": int64 [.]}`, photos of the gallery;
            the `truth` of `metrics.revisited_scores`.
    """

    gallery: tuple[str, ...]
    queries: tuple[str, ...]
    boxes: np.ndarray
    relevant: tuple[dict[str, np.ndarray], ...]


def load(path: str | os.PathLike) -> GroundTruth:
    """Reads a public ground-truth file without running what its pickle says.

    The pickle holds `{"imlist": names, "qimlist": names, "gnd": [{"bbx", "easy", "hard", "junk"}]}`, as lists or as
    NumPy arrays of numbers.

    Args:
        path: the `.pkl` file.

    Raises:
        UserError: no such file, a pickle that is damaged or names anything but arrays of numbers, entries that are
            missing or do not fit each other, a name with a folder.

    Source: Radenovic et al., Revisiting Oxford and Paris, CVPR 2018; github.com/filipradenovic/revisitop.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"no file {path}; expected gnd_roxford5k.pkl, gnd_rparis6k.pkl or one like them")
    with path.open("rb") as file:
        root = read_pickle(file, _allowed(), str(path))
    try:
        return _ground_truth(root)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def crop_query(photo: np.ndarray, box) -> np.ndarray:
    """The part of a query photo that is asked for: the protocol describes this alone, never the whole photo.

    Args:
        photo: [H,W,C], at its original size.
        box: (x0, y0, x1, y1) in pixels, as in `GroundTruth.boxes`.

    Returns:
        [h,w,C], a view; edges are rounded to whole pixels, halves to even ones as Pillow does, and cut off at the
        border of the photo.

    Raises:
        UserError: a box that has no pixel in the photo.

    >>> crop_query(np.arange(12).reshape(3, 4, 1), (0.6, 1.0, 3.2, 9.0))[..., 0].tolist()
    [[5, 6], [9, 10]]
    """
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = np.clip(np.rint(np.asarray(box, np.float64)), 0, [width, height] * 2).astype(int)
    if x1 <= x0 or y1 <= y0:
        raise UserError(f"a query box {tuple(map(float, box))} with no pixel in a photo of {height} x {width}")
    return photo[y0:y1, x0:x1]


def _ground_truth(root: Any) -> GroundTruth:
    _entries(root, ("imlist", "qimlist", "gnd"), "the pickle")
    gallery, queries = _names(root["imlist"], "imlist"), _names(root["qimlist"], "qimlist")
    both = set(gallery) & set(queries)
    if both:
        raise UserError(f"{min(both)} is a query and in the gallery; expected queries outside of it")
    if not isinstance(root["gnd"], list) or len(root["gnd"]) != len(queries):
        raise UserError(f"gnd is no list of {len(queries)} queries, as qimlist is; expected one entry for each")
    boxes, relevant = [], []
    for name, one in zip(queries, root["gnd"]):
        _entries(one, ("bbx", *RELEVANCE), f"query {name}")
        box = _array(one["bbx"], f"bbx of query {name}").astype(np.float64)
        if box.shape != (4,) or not (box[:2] < box[2:]).all():
            raise UserError(f"bbx of query {name} is {box.tolist()}; expected x0 < x1 and y0 < y1")
        boxes.append(box)
        relevant.append({key: _photos(one[key], len(gallery), f"{key} of query {name}") for key in RELEVANCE})
    return GroundTruth(gallery, queries, np.array(boxes).reshape(-1, 4), tuple(relevant))


def _entries(found: Any, names: tuple[str, ...], where: str) -> None:
    missing = [name for name in names if not isinstance(found, Mapping) or name not in found]
    if missing:
        raise UserError(f"{where} has no {missing[0]!r}; expected {', '.join(names)}")


def _names(found: Any, where: str) -> tuple[str, ...]:
    """Names of photos: they become paths, so that none may lead out of its folder."""
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise UserError(f"{where} is no list of names; expected the names of photos")
    for name in found:
        if re.search(r'[/\\:\0]', name) or name.startswith("."):
            raise UserError(f"{where} names {name!r}; expected names of photos without a folder")
    if len(set(found)) < len(found):
        raise UserError(f"{where} has a name twice; expected each once")
    return tuple(found)


def _photos(found: Any, count: int, where: str) -> np.ndarray:
    array = _array(found, where)
    if array.size and not (np.isin(array, np.arange(count)).all()):
        raise UserError(f"{where} has numbers other than 0 to {count - 1}; expected photos of imlist")
    return array.astype(np.int64)


def _array(found: Any, where: str) -> np.ndarray:
    if isinstance(found, _Array):
        found = found.numbers
    elif not isinstance(found, (list, tuple)) or not all(isinstance(x, (int, float)) for x in found):
        raise UserError(f"{where} is no list of numbers; expected one")
    array = np.asarray(found)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise UserError(f"{where} is no list of finite numbers; expected one")
    return array


class _Array:
    """What a pickled NumPy array leaves behind: numbers of plain types, read from its bytes."""

    numbers: np.ndarray = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        match state:
            case (_, tuple(shape), _Type(code=str(code)), _, bytes(data)) if NUMBERS.fullmatch(code[1:]):
                self.numbers = np.frombuffer(data, code).reshape(shape)
            case _:
                raise UserError("an array of something else than numbers; expected numbers")


class _Type:
    """What a pickled NumPy type leaves behind: its code, such as "<i8"."""

    def __init__(self, code: Any, *_: Any):
        self.code = f"<{code}"

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|"):
            raise UserError("numbers in big-endian order; expected little-endian")


def _allowed() -> Allowed:
    """What pickled arrays of numbers may name, with classes made anew for each file."""
    array, kind = type("Array", (_Array,), {}), type("Type", (_Type,), {})
    table: dict[tuple[str, str], Any] = {("numpy", "ndarray"): None, ("numpy", "dtype"): kind}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[module, "_reconstruct"] = lambda *_: array()
    table["_codecs", "encode"] = lambda text, _: text.encode("latin1")
    table["__builtin__", "bytes"] = lambda *_: b""  # how the protocols of Python 2 write no bytes
    return table
