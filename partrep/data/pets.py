"""Oxford-IIIT Pet: photos of cats and dogs by breed, with the box of the head and the mask of the animal."""

from __future__ import annotations

import csv
import io
import os
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image

from partrep import UserError
from partrep.data.archives import Archive
from partrep.data.decode import decoding, open_image
from partrep.data.layouts import find_layout, photo_sizes, read_rows, read_text
from partrep.data.photos import BACKGROUND, IGNORED, OBJECT, TEST, TRAIN, PhotoSet, PhotoTruth

PARTS = ("trainval", "test")
BOUNDS = ("ymin", "xmin", "ymax", "xmax")
TRIMAP = {1: OBJECT, 2: BACKGROUND, 3: IGNORED}  # 3 is the border, where the annotators did not decide


def load(path: str | os.PathLike) -> PhotoSet:
    """The photos named in `annotations/list.txt`, with breeds as classes and the official split.

    The truth has the box of the head (of about half the photos; the first one where there are two) and a mask from
    the trimap: 1, the animal, is the object; 2 is background; 3, the ambiguous border, is ignored. Boxes are in
    pixels of the original photo: those that `original_sizes.csv` gives, for photos that were shrunk, or the photo's
    own where there is no such file.

    Args:
        path: folder (both official archives unpacked in it), zip or tar with `images/` and `annotations/`.

    Raises:
        UserError: no such layout, a malformed line, a photo that is in neither or both of `trainval.txt` and
            `test.txt`, or that is missing.

    Source: Parkhi, Vedaldi, Zisserman & Jawahar, "Cats and Dogs", CVPR 2012.
    """
    archive, root = find_layout(path, "annotations/list.txt", "Oxford-IIIT Pet")
    rows = read_rows(archive, f"{root}annotations/list.txt", 4)  # name, class, species, breed of the species
    names = tuple(row[0] for row in rows)
    breeds = {_number(archive, row): row[0].rsplit("_", 1)[0] for row in reversed(rows)}
    place = {breed: i for i, breed in enumerate(sorted(breeds))}
    missing = {f"{root}images/{name}.jpg" for name in names} - set(archive.names)
    if missing:
        raise UserError(f"{path} holds no file {min(missing)}, which annotations/list.txt names")
    return PhotoSet(
        archive,
        tuple(f"{root}images/{name}.jpg" for name in names),
        np.array([place[_number(archive, row)] for row in rows], np.int32),
        tuple(breeds[breed] for breed in sorted(breeds)),
        _split(archive, root, names),
        _Truth(archive, root, names),
    )


def _number(archive: Archive, row: list[str]) -> int:
    if not row[1].isdigit():
        raise UserError(f"{archive.path}: annotations/list.txt has class {row[1]!r} for {row[0]}; expected a number")
    return int(row[1])


def _split(archive: Archive, root: str, names: tuple[str, ...]) -> np.ndarray:
    train, test = ({row[0] for row in read_rows(archive, f"{root}annotations/{part}.txt", 4)} for part in PARTS)
    for name in names:
        if (name in train) == (name in test):
            where = "both" if name in test else "neither"
            raise UserError(f"{archive.path}: {name} is in {where} of trainval.txt and test.txt; expected it in one")
    return np.array([TEST if name in test else TRAIN for name in names], np.int8)


class _Truth:
    """`PhotoSet.truth_of` of the pets."""

    def __init__(self, archive: Archive, root: str, names: tuple[str, ...]):
        self.archive, self.root, self.names = archive, root, names
        self.known = frozenset(archive.names)
        table = f"{root}original_sizes.csv"
        self.originals = _original_sizes(archive, table) if table in self.known else None

    def __call__(self, indices: np.ndarray) -> PhotoTruth:
        names = [self.names[i] for i in indices]
        sizes = photo_sizes(self.archive, [f"{self.root}images/{name}.jpg" for name in names])
        boxes = [self._box(name, size) for name, size in zip(names, sizes)]
        return PhotoTruth(
            sizes=sizes,
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            keypoints=np.zeros((len(names), 0, 2), np.float32),
            visible=np.zeros((len(names), 0), bool),
            mask_of=_Masks(self, tuple(names), sizes),
            boxed="head",
        )

    def _box(self, name: str, size: np.ndarray) -> np.ndarray:
        """f64 [4], the head in [0,1] of the original photo; NaN where it was not annotated."""
        file = f"{self.root}annotations/xmls/{name}.xml"
        if file not in self.known:
            return np.full(4, np.nan)
        if self.originals is not None and f"images/{name}.jpg" not in self.originals:
            raise UserError(f"{self.archive.path}: original_sizes.csv has no images/{name}.jpg; expected all photos")
        height, width = size if self.originals is None else self.originals[f"images/{name}.jpg"]
        try:
            tree = ElementTree.fromstring(self.archive.read(file))
            y0, x0, y1, x1 = (float(tree.findtext(f"object/bndbox/{k}") or "") for k in BOUNDS)
        except (ElementTree.ParseError, ValueError):
            raise UserError(f"{self.archive.path}: {file} has no readable object/bndbox") from None
        # Pascal VOC counts pixels from 1 and takes in the last one.
        return np.array([(y0 - 1) / height, (x0 - 1) / width, y1 / height, x1 / width])


def _original_sizes(archive: Archive, name: str) -> dict[str, tuple[int, int]]:
    """Height and width of the original of each photo."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(archive, name)))
        return {row["file"]: (int(row["orig_h"]), int(row["orig_w"])) for row in rows}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{archive.path}: {name} is malformed; expected columns file, orig_w and orig_h") from None


class _Masks:
    """`PhotoTruth.mask_of` of the pets: the trimap at the size of the photo."""

    def __init__(self, truth: _Truth, names: tuple[str, ...], sizes: np.ndarray):
        self.truth, self.names, self.sizes = truth, names, sizes

    def __call__(self, index: int) -> np.ndarray | None:
        file = f"{self.truth.root}annotations/trimaps/{self.names[index]}.png"
        if file not in self.truth.known:
            return None
        archive = self.truth.archive
        height, width = self.sizes[index].tolist()
        data = archive.read(file)
        with decoding(data, f"{archive.path}: {file}"):
            trimap = np.asarray(open_image(data).resize((width, height), Image.Resampling.NEAREST))
        if trimap.ndim != 2 or not np.isin(trimap, list(TRIMAP)).all():
            raise UserError(f"{archive.path}: {file} has other values than 1, 2 and 3; expected a trimap")
        return np.array([0, *TRIMAP.values()], np.uint8)[trimap]
